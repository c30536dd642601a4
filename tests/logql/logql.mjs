// Parses LogQL with the grammar that Grafana uses and runs log queries on given lines.
//
// Reads {"queries": [...], "streams": [{"labels": {...}, "metadata": {...}, "line": "..."}]} from
// standard input and writes, for each query, {"error": null | "...", "selected": [n, ...] | null}:
// the indexes of the selected lines, or null for a metric query. Only matchers, line filters, `| json` and
// label filters are supported; anything else in a query is an error.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(process.argv[2] + "/"));
const { parser } = require("@grafana/lezer-logql");

const { queries, streams } = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(queries.map(answer)));

function answer(query) {
  const tree = parser.parse(query);
  const error = firstError(tree, query);
  if (error !== null) return { error, selected: null };
  const log = tree.topNode.firstChild?.firstChild;
  if (log?.name !== "LogExpr") return { error: null, selected: null };
  try {
    const selected = [...streams.keys()].filter((n) => selects(log, query, streams[n]));
    return { error: null, selected };
  } catch (cause) {
    return { error: String(cause), selected: null };
  }
}

function firstError(tree, query) {
  let found = null;
  tree.iterate({
    enter(node) {
      if (node.type.isError && found === null) {
        found = `at ${node.from}: ${query.slice(node.from, node.from + 20)}`;
      }
    },
  });
  return found;
}

function selects(log, query, { labels, metadata, line }) {
  const entry = { known: { ...labels, ...metadata }, line };
  const stream = all(log.getChild("Selector"), ["Matchers", "Matcher"], "Matcher");
  if (!stream.every((matcher) => matches(matcher, query, labels))) return false;
  const stages = all(log, ["PipelineExpr", "PipelineStage"], "PipelineStage");
  return stages.every((stage) => passes(stage, query, entry));
}

// The nodes with a name below a node, in order, reached only through nodes with the given names.
function all(node, through, name) {
  if (node === null) return [];
  const found = [];
  for (let child = node.firstChild; child !== null; child = child.nextSibling) {
    if (child.name === name) found.push(child);
    else if (through.includes(child.name)) found.push(...all(child, through, name));
  }
  return found;
}

function passes(stage, query, entry) {
  const lines = all(stage, ["LineFilters"], "LineFilter");
  if (lines.length > 0) return lines.every((filter) => lineFilter(filter, query, entry.line));
  if (stage.getChild("LabelParser")?.getChild("Json")) return json(entry);
  const filter = stage.getChild("LabelFilter");
  if (filter) return labelFilter(filter, query, entry.known);
  throw new Error(`not evaluated: ${query.slice(stage.from, stage.to)}`);
}

function lineFilter(filter, query, line) {
  const wanted = text(filter.getChild("String"), query);
  const operator = filter.getChild("Filter").firstChild.name;
  switch (operator) {
    case "PipeExact":
      return line.includes(wanted);
    case "Neq":
      return !line.includes(wanted);
    case "PipeMatch":
      return regex(wanted, false).test(line);
    case "Nre":
      return !regex(wanted, false).test(line);
    default:
      throw new Error(`not evaluated: ${operator}`);
  }
}

// A field with the name of an existing label gets the suffix `_extracted`.
function json(entry) {
  const add = (prefix, value) => {
    for (const [name, inner] of Object.entries(value)) {
      const key = (prefix + name).replace(/[^a-zA-Z0-9_]/g, "_");
      if (inner !== null && typeof inner === "object" && !Array.isArray(inner)) add(key + "_", inner);
      else if (key in entry.labelled) entry.known[key + "_extracted"] = String(inner);
      else entry.known[key] = String(inner);
    }
  };
  entry.labelled = { ...entry.known };
  try {
    add("", JSON.parse(entry.line));
  } catch {
    entry.known.__error__ = "JSONParserErr";
  }
  return true;
}

function labelFilter(filter, query, known) {
  const parts = filter.getChildren("LabelFilter");
  if (parts.length === 2) {
    const [left, right] = parts.map((part) => labelFilter(part, query, known));
    return filter.getChild("Or") ? left || right : left && right;
  }
  const matcher = filter.getChild("Matcher");
  if (matcher) return matches(matcher, query, known);
  const number = filter.getChild("NumberFilter");
  if (number) return compares(number, query, known);
  throw new Error(`not evaluated: ${query.slice(filter.from, filter.to)}`);
}

function compares(filter, query, known) {
  const name = source(filter.getChild("Identifier"), query);
  if (!(name in known)) return false;
  const [left, right] = [Number(known[name]), Number(source(filter.getChild("LiteralExpr"), query))];
  const operator = filter.firstChild.nextSibling.name;
  switch (operator) {
    case "Gtr":
      return left > right;
    case "Gte":
      return left >= right;
    case "Lss":
      return left < right;
    case "Lte":
      return left <= right;
    default:
      throw new Error(`not evaluated: ${operator}`);
  }
}

function matches(matcher, query, known) {
  const name = source(matcher.getChild("Identifier"), query);
  const wanted = text(matcher.getChild("String"), query);
  const value = known[name] ?? "";
  const operator = matcher.firstChild.nextSibling.name;
  switch (operator) {
    case "Eq":
      return value === wanted;
    case "Neq":
      return value !== wanted;
    case "Re":
      return regex(wanted, true).test(value);
    case "Nre":
      return !regex(wanted, true).test(value);
    default:
      throw new Error(`not evaluated: ${operator}`);
  }
}

// Go's leading `(?i)` becomes a flag. Matchers are anchored, line filters are not.
function regex(wanted, anchored) {
  const flags = wanted.startsWith("(?i)") ? "i" : "";
  const body = flags ? wanted.slice(4) : wanted;
  return new RegExp(anchored ? `^(?:${body})$` : body, flags);
}

function source(node, query) {
  return query.slice(node.from, node.to);
}

function text(node, query) {
  const quoted = source(node, query);
  return quoted.startsWith("`") ? quoted.slice(1, -1) : JSON.parse(quoted);
}
