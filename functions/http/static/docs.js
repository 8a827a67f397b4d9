// The page: load the description, show it, find things in it.

const search = document.getElementById("search");
const navigation = document.getElementById("nav");
const menu = document.getElementById("menu");

function groupsOf(spec) {
  const all = Object.entries(spec.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, one]) => operationOf(spec, path, method, one)));
  const outgoing = Object.entries(spec.webhooks ?? {}).flatMap(([name, item]) =>
    Object.entries(item).map(([method, one]) => operationOf(spec, name, method, one, true)));
  const byTag = spec.tags.map((tag) => ({
    name: tag.name,
    description: tag.description,
    operations: all.filter((one) => one.source.tags[0] === tag.name),
  }));
  const sent = { name: "Sent to you", description: "The requests that the hub makes to your endpoint.", operations: outgoing };
  return [...byTag, sent].filter((group) => group.operations.length);
}

function slug(name) {
  return `tag-${name.toLowerCase().replace(/[^a-z0-9]+/g, "-")}`;
}

function show(spec) {
  document.getElementById("about").replaceChildren(...prose(spec.info.description));
  const groups = groupsOf(spec);
  document.getElementById("operations").replaceChildren(
    ...groups.map((group) =>
      h("section", { id: slug(group.name), class: "group" },
        h("h2", {}, group.name), prose(group.description ?? ""),
        group.operations.map((one) => operationSection(spec, one)))));
  document.getElementById("nav-operations").replaceChildren(
    ...groups.map((group) =>
      h("div", { class: "nav-group" }, h("h2", {}, h("a", { href: `#${slug(group.name)}` }, group.name)),
        h("ul", {}, group.operations.map((one) =>
          h("li", { "data-text": one.text },
            h("a", { href: `#${one.id}`, title: `${one.method} ${one.path}` }, badge(one.method), h("span", {}, one.source.summary))))))));
  search.addEventListener("input", filter);
  followScrolling();
  goToHash();
}

/** Hide what does not hold every word of the search. */
function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const item of navigation.querySelectorAll("li[data-text]")) {
    item.hidden = !words.every((word) => item.dataset.text.includes(word));
    found += item.hidden ? 0 : 1;
  }
  for (const group of navigation.querySelectorAll("#nav-operations .nav-group")) {
    group.hidden = !group.querySelector("li:not([hidden])");
  }
  document.getElementById("found").textContent = words.length ? `${found} found` : "";
}

/** Mark the operation at the top of the window in the navigation. */
function followScrolling() {
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((one) => one.isIntersecting)) {
      navigation.querySelector("[aria-current]")?.removeAttribute("aria-current");
      navigation.querySelector(`a[href="#${entry.target.id}"]`)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-15% 0px -80% 0px" });
  document.querySelectorAll("article.operation, .guide").forEach((one) => observer.observe(one));
}

/** What the operations pushed down is where the address says again. */
function goToHash() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target) target.scrollIntoView();
}

function openMenu(open) {
  navigation.classList.toggle("open", open);
  menu.setAttribute("aria-expanded", String(open));
}

menu.addEventListener("click", () => openMenu(!navigation.classList.contains("open")));
navigation.addEventListener("click", (event) => {
  if (event.target.closest("a")) openMenu(false);
});
document.getElementById("credential").addEventListener("submit", (event) => event.preventDefault());
document.getElementById("token").addEventListener("input", (event) => {
  token = event.target.value.trim().replace(/^Bearer\s+/i, "");
  document.getElementById("token-state").textContent = token ? "set, in memory only" : "kept in memory only";
});
document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest?.("input, textarea, select");
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    openMenu(true);
    search.focus();
  }
  if (event.key === "Escape" && navigation.classList.contains("open")) {
    openMenu(false);
    menu.focus();
  }
});
search.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  navigation.querySelector("li[data-text]:not([hidden]) a")?.click();
});

try {
  const response = await fetch("/api/openapi.json", { credentials: "omit" });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  show(await response.json());
} catch (error) {
  document.getElementById("operations").replaceChildren(
    h("p", { class: "refused" }, `The description could not be loaded (${error.message}). Reload to try again.`));
}
