// The page's comfort: theme, the reader's choice, charts, and sorting and filtering of tables.
const root = document.documentElement;
const fields = ["dataset", "labels", "metric"];

// -- theme ---------------------------------------------------------------------------------------------------------
const theme = document.getElementById("theme");
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ?? (systemDark.matches ? "dark" : "light")) === "dark";
const nameTheme = () => { theme.textContent = isDark() ? "Light theme" : "Dark theme"; };
theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; nameTheme(); });
systemDark.addEventListener("change", nameTheme);
nameTheme();
theme.hidden = false;

// -- tables --------------------------------------------------------------------------------------------------------
const compare = new Intl.Collator("en", { numeric: true }).compare;
const fits = (element, choice) => fields.every((name) => !element.dataset[name] || element.dataset[name] === choice[name]);

class ReportTable {
  constructor(section) {
    this.section = section;
    this.body = section.querySelector("tbody");
    this.fold = section.querySelector(".fold");
    const others = [...section.querySelectorAll("template")];
    this.variants = [
      { element: this.body.cloneNode(false), rows: [...this.body.rows] },
      ...others.map((element) => ({ element, rows: [...element.content.children] })),
    ];
    this.rows = this.variants[0].rows;
    this.words = [];
    this.headings = [...section.querySelectorAll("thead th")];
    for (const heading of this.headings) this.addSorting(heading);
    if (this.fold) this.addFilter();
  }

  addSorting(heading) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      // A column of numbers starts with the highest.
      const current = heading.getAttribute("aria-sort");
      const ascending = current ? current === "descending" : !heading.classList.contains("number");
      for (const other of this.headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      this.draw();
    });
  }

  addFilter() {
    const label = document.createElement("label");
    const input = document.createElement("input");
    input.type = "search";
    label.className = "filter";
    this.status = document.createElement("span");
    this.status.setAttribute("role", "status");
    label.append("Filter rows", input, this.status);
    this.section.querySelector(".scroll").before(label);
    input.addEventListener("input", () => {
      this.words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      this.draw();
    });
  }

  show(choice) {
    const variant = this.variants.find(({ element }) => fits(element, choice));
    this.section.hidden = !variant;
    this.rows = variant?.rows ?? [];
    this.draw();
  }

  draw() {
    const texts = (row) => row.textContent.toLowerCase();
    const shown = this.rows.filter((row) => this.words.every((word) => texts(row).includes(word)));
    this.body.replaceChildren(...this.sorted(shown));
    if (!this.fold) return;
    const unit = this.rows.length === 1 ? "row" : "rows";
    this.section.querySelector(".count").textContent = `${this.rows.length} ${unit}`;
    this.status.textContent = this.words.length ? `${shown.length} of ${this.rows.length} ${unit}` : "";
  }

  sorted(rows) {
    const place = this.headings.findIndex((heading) => heading.hasAttribute("aria-sort"));
    if (place < 0) return rows;
    const heading = this.headings[place];
    const numbers = heading.classList.contains("number");
    const sign = heading.getAttribute("aria-sort") === "ascending" ? 1 : -1;
    const key = (row) => row.cells[place].dataset.sort ?? row.cells[place].textContent;
    return [...rows].sort((first, second) => {
      const [a, b] = [key(first), key(second)];
      if (a === "" || b === "") return (a === "") - (b === ""); // empty cells come last
      return sign * (numbers ? a - b : compare(a, b));
    });
  }
}

const tables = [...document.querySelectorAll(".table")].map((section) => new ReportTable(section));

// -- charts --------------------------------------------------------------------------------------------------------
// Colours are CSS variables, so a chart follows the theme without being drawn again.
const quietAxis = {
  labelColor: "var(--ink)", titleColor: "var(--quiet)", domainColor: "var(--line)", tickColor: "var(--line)",
  gridColor: "var(--line)", gridOpacity: 0.6, labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", labelLimit: 240,
};
const config = {
  background: "transparent", font: getComputedStyle(document.body).fontFamily, aria: false, view: { stroke: null },
  axis: quietAxis,
  legend: { labelColor: "var(--ink)", titleColor: "var(--quiet)", labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", labelLimit: 240 },
  title: { color: "var(--ink)", subtitleColor: "var(--quiet)", fontSize: 13, fontWeight: 600 },
  header: { labelColor: "var(--ink)", titleColor: "var(--quiet)", labelFontSize: 12, titleFontSize: 12 },
  text: { fill: "var(--ink)", fontSize: 12 },
  rule: { stroke: "var(--quiet)" },
};
// The interpreter of expressions spares the page a security policy that lets text become a program.
const options = { mode: "vega-lite", ast: true, renderer: "svg", actions: false, defaultStyle: false, config };
const views = [];

async function drawCharts(choice) {
  for (const plot of document.querySelectorAll(".plot")) {
    const fold = plot.closest("details:not([open])");
    // A folded chart has no width yet.
    if (fold) fold.addEventListener("toggle", () => drawChart(plot, choice), { once: true });
    else await drawChart(plot, choice);
  }
}

async function drawChart(plot, choice) {
  const specification = JSON.parse(plot.querySelector("script").textContent);
  const parameters = (specification.params ?? []).map(({ name }) => name).filter((name) => fields.includes(name));
  for (const parameter of specification.params ?? []) {
    if (fields.includes(parameter.name)) parameter.value = choice()[parameter.name];
  }
  const bind = plot.closest("figure").querySelector(".controls"); // outside of the picture, which has no controls
  const { view } = await vegaEmbed(plot, specification, { ...options, bind });
  plot.querySelector("svg").setAttribute("aria-hidden", "true"); // the caption describes the figure
  const chart = { view, parameters };
  views.push(chart);
  await follow(chart, choice()); // the reader may have chosen anew in the meantime
}

async function follow({ view, parameters }, choice) {
  for (const name of parameters) view.signal(name, choice[name]);
  if (parameters.length) await view.runAsync();
}

// -- choice --------------------------------------------------------------------------------------------------------
const form = document.getElementById("choice");
const choices = JSON.parse(document.getElementById("choices").textContent);
const selects = fields.map((name) => form.elements[name]).filter(Boolean);
const chosen = () => Object.fromEntries(selects.map((select) => [select.name, select.value]));

// Offers the label budgets that the data set has; another one gives way to all labels.
function offerBudgets() {
  const { dataset, labels } = form.elements;
  const budgets = new Set(choices.filter((choice) => choice[0] === dataset.value).map((choice) => choice[1]));
  for (const option of labels.options) option.hidden = option.disabled = !budgets.has(option.value);
  if (!budgets.has(labels.value)) labels.value = budgets.has("all") ? "all" : [...budgets][0];
}

function show() {
  const choice = chosen();
  for (const place of document.querySelectorAll(".chosen")) {
    const names = place.dataset.fields.split(" ");
    place.textContent = names.map((name) => form.elements[name].selectedOptions[0].textContent).join(", ");
  }
  for (const table of tables) table.show(choice);
  return Promise.all(views.map((chart) => follow(chart, choice)));
}

if (choices.length) {
  const address = new URLSearchParams(location.search);
  for (const select of selects) {
    const wanted = address.get(select.name);
    if ([...select.options].some((option) => option.value === wanted)) select.value = wanted;
  }
  offerBudgets();
  form.hidden = selects.every((select) => select.options.length === 1);
  form.addEventListener("change", () => {
    offerBudgets();
    history.replaceState(null, "", `?${new URLSearchParams(chosen())}${location.hash}`);
    show();
  });
  show();
}
if (document.querySelector(".plot")) drawCharts(chosen);

// -- links ---------------------------------------------------------------------------------------------------------
// A link into a folded table opens it.
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const fold = target?.matches(".table") && target.querySelector(".fold");
  if (fold) fold.open = true;
}
addEventListener("hashchange", reveal);
reveal();
