// Validates custom resources against the schemas of their definitions. Reads a JSON list of objects from
// standard input, and prints one line for each invalid one and for each whose schema is missing.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const packages = {
  "argoproj.io": "argo-rollouts",
  "external-secrets.io": "external-secrets",
  "keda.sh": "keda",
  "monitoring.coreos.com": "prometheus-operator",
  "networking.istio.io": "istio",
};

for (const object of JSON.parse(readFileSync(0, "utf8"))) {
  const name = `${object.kind}/${object.metadata.name}`;
  const [group] = object.apiVersion.split("/");
  try {
    // the packages are installed in the working directory, not beside this file
    const folder = `node_modules/@kubernetes-models/${packages[group]}/${object.apiVersion}`;
    const module = await import(pathToFileURL(`${folder}/index.js`));
    new module[object.kind](object).validate();
  } catch (error) {
    console.log(`${name}: ${error.message}`);
  }
}
