// Draws the figures, in the colours of the scheme that the reader prefers.
"use strict";
(() => {
  const root = document.documentElement;
  const names = JSON.parse(document.getElementById("colours").textContent);
  const specifications = new Map(
    [...document.querySelectorAll("script[data-drawing]")].map((script) => [
      document.getElementById(script.dataset.drawing),
      JSON.parse(script.textContent),
    ]),
  );
  const preference = window.matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("scheme");

  // A copy of a figure, with each colour of the light scheme exchanged for the one now in use.
  function coloured(value, style) {
    if (typeof value === "string") {
      return Object.hasOwn(names, value) ? style.getPropertyValue(`--${names[value]}`).trim() : value;
    }
    if (Array.isArray(value)) return value.map((item) => coloured(item, style));
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item, style)]));
    }
    return value;
  }

  function isDark() {
    return root.dataset.scheme ? root.dataset.scheme === "dark" : preference.matches;
  }

  function draw() {
    const style = getComputedStyle(root);
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", isDark() ? "Use light colours" : "Use dark colours");
    for (const [element, specification] of specifications) {
      const { data, layout } = coloured(specification, style);
      Plotly.react(element, data, layout, { responsive: true, displayModeBar: false });
    }
  }

  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.scheme = isDark() ? "light" : "dark";
    draw();
  });
  preference.addEventListener("change", draw);
  draw();
})();
