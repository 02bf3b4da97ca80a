// What the pages do beside Furo's own: draw, find as one types, change the version, copy code.
"use strict";

// --- Drawings: the text of each is kept, and drawn anew when the reader changes between light and dark.
const DRAWINGS = [...document.querySelectorAll("pre.mermaid")].map((node) => ({ node, text: node.textContent }));
const DARK = matchMedia("(prefers-color-scheme: dark)");
const COLOURS = {
  light: {
    background: "#f5f6fd", primaryColor: "#e4e7ff", primaryBorderColor: "#6d73d9", primaryTextColor: "#1d1f33",
    secondaryColor: "#fff0d1", tertiaryColor: "#eef7ee", lineColor: "#6a6e8f", textColor: "#1d1f33",
    edgeLabelBackground: "#f5f6fd", noteBkgColor: "#fff0d1", noteTextColor: "#1d1f33", noteBorderColor: "#d9b25f",
  },
  dark: {
    background: "#1b1d2c", primaryColor: "#2c3060", primaryBorderColor: "#8f95ff", primaryTextColor: "#eceefd",
    secondaryColor: "#4a3d1f", tertiaryColor: "#1f3a2c", lineColor: "#a2a6c6", textColor: "#eceefd",
    edgeLabelBackground: "#1b1d2c", noteBkgColor: "#4a3d1f", noteTextColor: "#f7ecd0", noteBorderColor: "#d9b25f",
  },
};

function scheme() {
  const chosen = document.body.dataset.theme;
  return chosen === "dark" || (chosen !== "light" && DARK.matches) ? "dark" : "light";
}

async function draw() {
  const dark = scheme() === "dark";
  mermaid.initialize({
    startOnLoad: false,
    theme: "base",
    themeVariables: { darkMode: dark, fontFamily: getComputedStyle(document.body).fontFamily, fontSize: "15px", ...COLOURS[dark ? "dark" : "light"] },
    flowchart: { curve: "basis", htmlLabels: true, nodeSpacing: 30, rankSpacing: 32, wrappingWidth: 230 },
    securityLevel: "strict",
  });
  for (const { node, text } of DRAWINGS) {
    node.removeAttribute("data-processed");
    node.textContent = text;
  }
  await mermaid.run({ nodes: DRAWINGS.map(({ node }) => node) });
}

if (DRAWINGS.length && window.mermaid) {
  let drawn = scheme();
  const changed = () => {
    if (scheme() !== drawn) {
      drawn = scheme();
      draw();
    }
  };
  draw();
  DARK.addEventListener("change", changed);
  new MutationObserver(changed).observe(document.body, { attributeFilter: ["data-theme"] });
}

// --- Search: headings and names of the API as one types; Enter searches all the text.
const found = document.getElementById("found");
const asked = document.querySelector(".sidebar-search");
let places = null;

function loadIndex() {
  if (places) return;
  places = [];
  const take = (index) => {
    const place = (doc, anchor) => `${found.dataset.root}${index.docnames[doc]}.html${anchor ? `#${anchor}` : ""}`;
    for (const [title, hits] of Object.entries(index.alltitles || {}))
      for (const [doc, anchor] of hits)
        places.push({ title, page: anchor ? index.titles[doc] : "", link: place(doc, anchor), weight: anchor ? 1 : 0 });
    for (const [module, names] of Object.entries(index.objects || {}))
      for (const [doc, , , anchor, name] of names)
        places.push({ title: `${module}.${name}`, page: index.titles[doc], link: place(doc, anchor || `${module}.${name}`), weight: 2 });
    suggest();
  };
  if (window.Search) return; // the page of the search itself shows what it finds
  window.Search = { setIndex: take };
  const script = document.createElement("script");
  script.src = found.dataset.index;
  script.addEventListener("error", () => (places = null)); // the next letter tries again
  document.head.append(script);
}

function marked(title, words) {
  const node = document.createElement("span");
  const pattern = new RegExp(`(${words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|")})`, "gi");
  title.split(pattern).forEach((part, place) => {
    const piece = place % 2 ? document.createElement("mark") : document.createElement("span");
    piece.textContent = part;
    node.append(piece);
  });
  return node;
}

function suggest() {
  const words = asked.value.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (place) => words.every((word) => `${place.title} ${place.page}`.toLowerCase().includes(word));
  const score = (place) => place.weight - (place.title.toLowerCase().startsWith(words[0]) ? 0.5 : 0);
  const hits = words.length ? (places || []).filter(fits).sort((one, two) => score(one) - score(two)).slice(0, 8) : [];
  found.replaceChildren(
    ...hits.map((hit) => {
      const item = document.createElement("li");
      const link = document.createElement("a");
      link.href = hit.link;
      link.append(marked(hit.title, words));
      if (hit.page) {
        const page = document.createElement("small");
        page.textContent = hit.page;
        link.append(page);
      }
      item.append(link);
      return item;
    }),
  );
  found.hidden = !hits.length;
}

if (found && asked) {
  asked.addEventListener("focus", loadIndex, { once: true });
  asked.addEventListener("input", () => {
    loadIndex();
    suggest();
  });
  const step = (event, by) => {
    const links = [asked, ...found.querySelectorAll("a")];
    const next = links[links.indexOf(document.activeElement) + by];
    if (next) {
      next.focus();
      event.preventDefault();
    }
  };
  for (const node of [asked, found])
    node.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown") step(event, 1);
      if (event.key === "ArrowUp") step(event, -1);
      if (event.key === "Escape") {
        asked.value = "";
        suggest();
        asked.blur();
      }
    });
}

// --- Versions: beside this folder lies versions.json. Opened as a file, the page is all there is.
const versions = document.querySelector(".versions");

async function offer() {
  const response = await fetch(`${versions.dataset.root}../versions.json`);
  if (!response.ok) return;
  const { newest, versions: listed } = await response.json();
  const select = versions.querySelector("select");
  select.replaceChildren(
    ...listed.map((name) => new Option(name, name, name === versions.dataset.version, name === versions.dataset.version)),
  );
  const open = async (version) => {
    const root = new URL(versions.dataset.root, location.href);
    const page = location.href.slice(root.href.length);
    const target = new URL(`../${version}/`, root);
    const same = await fetch(new URL(page, target), { method: "HEAD" });
    location.href = same.ok ? new URL(page, target) : new URL("index.html", target);
  };
  select.addEventListener("change", () => open(select.value));
  if (newest === versions.dataset.version) return;
  const note = document.createElement("p");
  const button = document.createElement("button");
  const which = versions.dataset.version === "dev" ? "the version in development" : `version ${versions.dataset.version}`;
  note.className = "not-newest";
  note.textContent = `This is about ${which}. `;
  button.type = "button";
  button.textContent = `Go to ${newest}`;
  button.addEventListener("click", () => open(newest));
  note.append(button);
  document.querySelector("article").prepend(note);
}

if (versions && location.protocol !== "file:") offer();

// --- Names of the page's parts, for those who listen
document.querySelector(".sidebar-drawer")?.setAttribute("aria-label", "All pages");
document.querySelector(".toc-drawer")?.setAttribute("aria-label", "This page");

// --- Code: a button that copies what one would type, without prompts and without what is printed.
function typed(block) {
  const lines = block.querySelector("pre").textContent.replace(/\n$/, "").split("\n");
  const prompt = /^(\$|>>>|\.\.\.)( |$)/;
  if (!prompt.test(lines[0])) return lines.join("\n");
  return lines.filter((line) => prompt.test(line)).map((line) => line.replace(prompt, "")).join("\n");
}

// What is wider than the page can be scrolled by keys as well.
for (const block of document.querySelectorAll(".highlight pre, .table-wrapper"))
  if (block.scrollWidth > block.clientWidth) block.tabIndex = 0;

if (navigator.clipboard)
  for (const block of document.querySelectorAll(".highlight")) {
    const button = document.createElement("button");
    button.className = "copy";
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(typed(block));
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
    block.append(button);
  }
