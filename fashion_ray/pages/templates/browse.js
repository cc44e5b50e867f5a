"use strict";
// The catalog page. Its state is in the address (#q=...&id=...), so that a view can be linked to and the browser's own back works.
// Whatever comes from a feed is written as text (textContent, or an attribute's value), never as markup.
const DATA = JSON.parse(document.getElementById("data").textContent);
const ABOUT = DATA.about, TARGETS = ABOUT.targets, PAGE = 60;
const $ = (id) => document.getElementById(id);
const NONE = "(too rare)";

function element(name, content, attributes) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  for (const one of [].concat(content === undefined || content === null ? [] : content)) made.append(one);
  return made;
}

// The products of a page of one file: labels are numbers of ABOUT.words there.
const word = (number) => (number === null ? null : ABOUT.words[number]);
const BY_ID = new Map();
for (const one of DATA.products || []) {
  for (const answer of one.answers) { answer[0] = word(answer[0]); answer[1] = word(answer[1]); }
  for (const best of one.top3) for (const pair of best) pair[0] = word(pair[0]);
  for (const night of one.history) for (const pair of night || []) if (pair) pair[0] = word(pair[0]);
  for (const key of Object.keys(one.facts)) one.facts[key] = word(one.facts[key]);
  one.text = (one.id + " " + (one.title || "")).toLowerCase();
  BY_ID.set(one.id, one);
}

function matches(one, query) {
  const words = query.q.toLowerCase().split(/\s+/).filter(Boolean);
  const asked = one.answers.filter((_, number) => !query.target || TARGETS[number] === query.target);
  return words.every((part) => one.text.includes(part))
    && (query.label === null || asked.some((answer) => (answer[1] || "") === query.label))
    && (!query.review || asked.some((answer) => answer[3]))
    && (!query.differs || asked.some((answer) => answer[4]));
}

async function ask(path, parameters) {
  const reply = await fetch(path + "?" + new URLSearchParams(parameters));
  const answer = await reply.json();
  if (!reply.ok) throw new Error(answer.error || reply.statusText);
  return answer;
}

async function list(query) {
  if (DATA.products) {
    const found = DATA.products.filter((one) => matches(one, query));
    return { total: found.length, products: found.slice(query.page * PAGE, (query.page + 1) * PAGE) };
  }
  return ask("/api/products", hashOf({ ...query, id: "" }));
}

const product = async (id) => (DATA.products ? BY_ID.get(id) : ask("/api/product", { id }));
const neighbours = async (one) =>
  DATA.products
    ? one.neighbours.map(([id, cosine]) => ({ ...(BY_ID.get(id) || { id }), cosine }))
    : (await ask("/api/neighbours", { id: one.id })).products;

function query() {
  const given = new URLSearchParams(location.hash.slice(1));
  return {
    q: given.get("q") || "", target: given.get("target") || "", label: given.get("label"), review: given.has("review"),
    differs: given.has("differs"), page: Math.max(0, parseInt(given.get("page") || "0", 10) || 0), id: given.get("id") || "",
  };
}

function hashOf(state) {
  const said = new URLSearchParams();
  for (const key of ["q", "target", "id"]) if (state[key]) said.set(key, state[key]);
  if (state.label !== null && state.label !== undefined) said.set("label", state.label);
  for (const key of ["review", "differs"]) if (state[key]) said.set(key, "1");
  if (state.page) said.set("page", state.page);
  return said;
}

const go = (state) => { location.hash = hashOf(state).toString(); };
const linkTo = (id) => "#" + hashOf({ ...query(), id });
const label = (text) => text || NONE;
const percent = (chance) => (100 * chance).toFixed(1) + "%";

function shown(one) {
  const address = DATA.products ? one.picture : one.picture && "/picture?" + new URLSearchParams({ id: one.id });
  return element("div", address ? element("img", null, { src: address, alt: "product " + one.id, loading: "lazy" }) : "no picture",
    { class: "shown" });
}

function marks(answer) {
  const found = [];
  if (answer[3]) found.push(" ", element("span", "review", { class: "mark" }));
  if (answer[4]) found.push(" ", element("span", "catalog: " + answer[0], { class: "mark" }));
  return found;
}

function card(one, note) {
  if (!one.answers) return element("li", [element("div", "not on this page", { class: "shown" }), one.id + (note || "")]);
  const last = one.answers[one.answers.length - 1];
  return element("li", element("a", [
    shown(one), element("strong", label(last[1])), " " + percent(last[2]), ...marks(last), element("br"),
    one.title || "", element("br"), element("span", one.id + (note || ""), { class: "dim" }),
  ], { href: linkTo(one.id) }));
}

function table(head, rows) {
  const cells = (row, kind) => row.map((cell, number) => element(kind, cell, { class: number ? "" : "name" }));
  return element("div", element("table", [
    element("thead", element("tr", cells(head, "th"))),
    element("tbody", rows.map((row) => element("tr", cells(row, "td")))),
  ]), { class: "scroll" });
}

function detail(one) {
  const answers = one.answers.map((answer, number) => [
    TARGETS[number], [label(answer[1]), ...marks(answer)], percent(answer[2]),
    one.top3[number].map((pair) => label(pair[0]) + " " + percent(pair[1])).join(", "), answer[0] || "none",
  ]);
  const nights = ABOUT.commits.map((commit, number) => {
    const said = one.history[number];
    const told = TARGETS.map((_, place) => (said && said[place] ? label(said[place][0]) + " " + percent(said[place][1]) : "–"));
    return [commit.at, commit.name + (commit.name === ABOUT.snapshot ? " (shown)" : ""), commit.model, ...told];
  });
  const facts = Object.entries(one.facts).flatMap(([name, value]) => [element("dt", name), element("dd", String(value))]);
  return [
    element("p", element("a", "back to the list", { href: "#" + hashOf({ ...query(), id: "" }) })),
    element("h2", one.title || one.id),
    element("div", [shown(one), element("div", [
      table(["target", "answer", "probability", "top 3", "catalog"], answers),
      element("dl", [element("dt", "product_id"), element("dd", one.id), ...facts]),
    ])], { class: "product" }),
    element("h3", "Snapshot by snapshot"),
    table(["published", "snapshot", "model", ...TARGETS], nights),
    element("h3", DATA.products ? "Most similar on this page" : "Most similar"),
    element("ul", null, { class: "gallery", id: "near" }),
  ];
}

async function showProduct(id) {
  $("product").replaceChildren();
  const one = await product(id);
  if (query().id !== id) return; // another view was asked for meanwhile
  if (!one) throw new Error("no product " + id + " here");
  $("product").replaceChildren(...detail(one));
  const near = await neighbours(one);
  if ($("near") && query().id === id) $("near").replaceChildren(...near.map((other) => card(other, ", cosine " + other.cosine)));
}

function fillForm(state) {
  $("q").value = state.q;
  $("review").checked = state.review;
  $("differs").checked = state.differs;
  $("target").replaceChildren(...["", ...TARGETS].map((name) => element("option", name || "any target", { value: name })));
  $("target").value = state.target;
  const counts = state.target ? ABOUT.labels[state.target] || [] : [];
  $("label").replaceChildren(element("option", "any label", { value: "*" }),
    ...counts.map(([name, rows]) => element("option", label(name) + " (" + rows + ")", { value: "=" + name })));
  $("label").value = state.label === null ? "*" : "=" + state.label;
  $("label").hidden = !state.target;
}

async function showList(state) {
  const found = await list(state);
  if (hashOf(query()).toString() !== hashOf(state).toString()) return;
  const pages = Math.max(1, Math.ceil(found.total / PAGE));
  $("found").textContent = found.total.toLocaleString("en") + (found.total === 1 ? " product" : " products");
  $("where").textContent = "page " + (state.page + 1) + " of " + pages;
  $("back").disabled = state.page === 0;
  $("on").disabled = state.page + 1 >= pages;
  $("gallery").replaceChildren(...found.products.map((one) => card(one)));
}

async function show() {
  const state = query();
  $("problem").hidden = true;
  $("list").hidden = $("search").hidden = Boolean(state.id);
  $("product").hidden = !state.id;
  try {
    if (state.id) await showProduct(state.id);
    else { fillForm(state); await showList(state); }
    document.body.dataset.ready = state.id || "list";
  } catch (error) {
    $("problem").textContent = error.message;
    $("problem").hidden = false;
  }
}

function searched() {
  const target = $("target").value;
  go({
    q: $("q").value.trim(), target, label: target && target === query().target && $("label").value !== "*" ? $("label").value.slice(1) : null,
    review: $("review").checked, differs: $("differs").checked, page: 0, id: "",
  });
}

$("search").addEventListener("change", searched);
$("search").addEventListener("submit", (event) => { event.preventDefault(); searched(); });
$("back").addEventListener("click", () => go({ ...query(), page: query().page - 1 }));
$("on").addEventListener("click", () => go({ ...query(), page: query().page + 1 }));
window.addEventListener("hashchange", show);
$("summary").textContent = (DATA.products ? ABOUT.shown.toLocaleString("en") + " of " : "")
  + ABOUT.rows.toLocaleString("en") + " products of the snapshot " + ABOUT.snapshot + "; " + ABOUT.commits.length
  + (ABOUT.commits.length === 1 ? " snapshot is kept." : " snapshots are kept.");
show();
