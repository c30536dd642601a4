// An identity provider for tests, based on the package oidc-provider.
//
//   node provider.mjs PORT KEYS
//
// KEYS is a file with the signing keys. It is created if it does not exist, so that a provider keeps its
// keys over a restart. Tokens for the resource are JWTs, signed with the algorithm of the client (rs256,
// es256, ps256, eddsa) or RS256. POST /rotate generates new signing keys; the previous ones stay
// published until the next rotation.
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { exportJWK, generateKeyPair } from "jose";
import Provider from "oidc-provider";

const [port, file] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const resource = "https://mlsdm.example";
const algorithms = { rs256: "RS256", es256: "ES256", ps256: "PS256", eddsa: "EdDSA" };

async function pair(alg) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true, crv: "Ed25519" });
  const kid = `${alg}-${randomBytes(4).toString("hex")}`;
  return { ...(await exportJWK(privateKey)), alg, kid, use: "sig" };
}

const pairs = () => Promise.all(Object.values(algorithms).map(pair));

const machine = ([client_id]) => ({
  client_id,
  client_secret: "of-a-test",
  grant_types: ["client_credentials"],
  redirect_uris: [],
  response_types: [],
  token_endpoint_auth_method: "client_secret_post",
});

const cli = {
  client_id: "mlsdm-cli",
  application_type: "native",
  grant_types: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
  redirect_uris: ["http://127.0.0.1/callback"],
  response_types: ["code"],
  token_endpoint_auth_method: "none",
};

const configuration = (keys) => ({
  jwks: { keys },
  clients: [...Object.entries(algorithms).map(machine), cli],
  cookies: { keys: ["of-a-test"] },
  ttl: { AccessToken: 3600, ClientCredentials: 7 * 24 * 3600 },
  extraTokenClaims: () => ({ roles: ["user", "admin"] }),
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  pkce: { required: () => true },
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => resource,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, __, client) => ({
        scope: "openid offline_access",
        audience: resource,
        accessTokenFormat: "jwt",
        jwt: { sign: { alg: algorithms[client.clientId] ?? "RS256" } },
      }),
    },
  },
});

let keys;
let answer;
const use = (next) => {
  keys = next;
  writeFileSync(file, JSON.stringify(keys));
  answer = new Provider(issuer, configuration(keys)).callback();
};
use(existsSync(file) ? JSON.parse(readFileSync(file)) : await pairs());

createServer(async (request, response) => {
  if (request.method === "POST" && request.url === "/rotate") {
    // the first key of each type signs
    use([...(await pairs()), ...keys.slice(0, Object.keys(algorithms).length)]);
    response.end("{}");
    return;
  }
  answer(request, response);
}).listen(Number(port), "127.0.0.1");
