// Shows openapi.json. Everything is put in as text, so nothing in the description can be run.
"use strict";

const VERBS = ["get", "post", "put", "patch", "delete"];
let api = {};

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null));
  return node;
}

// `words` in backticks become code; the rest stays text.
function prose(tag, text) {
  const parts = text.split(/`([^`]*)`/);
  return make(tag, {}, ...parts.map((part, i) => (i % 2 ? make("code", {}, part) : part)));
}

function resolved(schema) {
  const name = schema.$ref?.split("/").pop();
  return name ? { ...api.components.schemas[name], name } : schema;
}

function typeOf(given) {
  const schema = resolved(given ?? {});
  if (schema.name) return schema.title ?? schema.name;
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return choices.map(typeOf).join(" or ");
  if (schema.enum) return schema.enum.map((word) => JSON.stringify(word)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === "array") return `list of ${typeOf(schema.items)}`;
  return schema.type ?? "anything";
}

// JavaScript's numbers end at 2^53; what is larger is one less than a power of two here.
function bound(value) {
  return value > Number.MAX_SAFE_INTEGER ? `2^${Math.round(Math.log2(value))} - 1` : value;
}

function limits(schema) {
  const known = [["minimum", "≥"], ["maximum", "≤"], ["maxLength", "length ≤"]];
  const choice = schema.anyOf?.find((one) => one.type !== "null") ?? schema;
  return known
    .filter(([key]) => choice[key] !== undefined)
    .map(([key, sign]) => `${sign} ${bound(choice[key])}`)
    .join(", ");
}

function row(name, schema, description, required) {
  const says = [limits(resolved(schema)), schema.default != null ? `default ${JSON.stringify(schema.default)}` : ""];
  const more = says.filter(Boolean).join("; ");
  const text = prose("td", `${description ?? ""}${more ? ` (${more})` : ""}`);
  return make("tr", {}, make("td", {}, make("code", {}, name), required ? " *" : ""), make("td", {}, typeOf(schema)), text);
}

function members(given) {
  let schema = resolved(given);
  if (schema.type === "array") schema = resolved(schema.items);
  if (!schema.properties) return null;
  const required = new Set(schema.required ?? []);
  const rows = Object.entries(schema.properties).map(([name, one]) =>
    row(name, one, one.description ?? resolved(one).description, required.has(name)));
  return make("table", {}, make("tbody", {}, ...rows));
}

function example(content) {
  const schema = resolved(content.schema ?? {});
  const found = content.example ?? schema.examples?.[0];
  if (found === undefined) return null;
  return make("pre", {}, typeof found === "string" ? found : JSON.stringify(found, null, 2));
}

function body(title, content) {
  const [kind, first] = Object.entries(content)[0];
  const label = `${title}, ${kind}`;
  return [make("h4", {}, label), first.schema ? members(first.schema) : null, example(first)];
}

function answers(responses) {
  const rows = Object.entries(responses).map(([status, response]) =>
    make("tr", {}, make("td", {}, make("code", {}, status)), prose("td", response.description ?? "")));
  const good = Object.entries(responses).find(([status]) => status.startsWith("2"));
  const parts = good?.[1].content ? body(`Answer ${good[0]}`, good[1].content) : [];
  const table = make("table", {}, make("tbody", {}, ...rows));
  return make("details", {}, make("summary", {}, "Answers"), table, ...parts);
}

function operation(path, verb, spec, shared) {
  const locks = (spec.security ?? []).flatMap(Object.keys);
  const article = make("article", { id: spec.operationId });
  const isOpen = (spec.security ?? []).some((one) => Object.keys(one).length === 0);
  const note = `token: ${locks.join(", ")}${isOpen ? ", or none on the monitor's own machine" : ""}`;
  const lock = locks.length ? make("span", { class: "lock" }, note) : null;
  const route = make("p", { class: "route" }, make("span", { class: `verb ${verb}` }, verb.toUpperCase()), make("code", {}, path), lock);
  article.append(make("h3", {}, spec.summary ?? path), route);
  for (const part of (spec.description ?? "").split(/\n\n/).filter(Boolean)) article.append(prose("p", part));
  const parameters = [...shared, ...(spec.parameters ?? [])];
  if (parameters.length) {
    const rows = parameters.map((one) => row(one.name, one.schema, `${one.description ?? ""} [${one.in}]`, one.required));
    article.append(make("h4", {}, "Parameters"), make("table", {}, make("tbody", {}, ...rows)));
  }
  if (spec.requestBody) article.append(...body("Body", spec.requestBody.content).filter(Boolean));
  article.append(answers(spec.responses));
  return article;
}

function show() {
  document.getElementById("lead").textContent = api.info.description.trim().replace(/`/g, "").replace(/(\S)\n(?=\S)/g, "$1 ");
  document.querySelector("h1").append(` ${api.info.version}`);
  const main = document.querySelector("main");
  const nav = document.querySelector("nav");
  for (const tag of api.tags) {
    main.append(make("h2", {}, tag.name), prose("p", tag.description));
    nav.append(make("h2", {}, tag.name));
    for (const [path, item] of Object.entries(api.paths)) {
      for (const verb of VERBS.filter((one) => item[one]?.tags?.includes(tag.name))) {
        main.append(operation(path, verb, item[verb], item.parameters ?? []));
        nav.append(make("a", { href: `#${item[verb].operationId}` }, item[verb].summary ?? path));
      }
    }
  }
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

fetch("openapi.json")
  .then((answer) => {
    if (!answer.ok) throw new Error(`openapi.json: ${answer.status}`);
    return answer.json();
  })
  .then((found) => { api = found; show(); })
  .catch((error) => { document.getElementById("lead").textContent = `The description cannot be shown: ${error.message}`; });
