// server/report: the calculator: reads the fields of a form, gives the probability with its interval.
"use strict";
(() => {
  const NORMAL = 1.959963984540054; // the normal distribution's 97.5 % point
  const models = JSON.parse(document.getElementById("numbers").textContent);
  const logistic = (x) => 1 / (1 + Math.exp(-x));
  const percent = (p) => {
    const shown = 100 * p;
    return shown < 0.1 ? "<0.1 %" : shown > 99.9 ? ">99.9 %" : `${shown.toFixed(1)} %`;
  };

  // What one field says: null while empty; else whether it may be used, its terms and its part of the linear predictor.
  function read(field, axis) {
    const entry = field.querySelector("select, input[type=number]");
    if (entry.tagName === "SELECT") {
      if (entry.value === "") return null;
      const term = axis.terms[Number(entry.value)];
      return { sound: true, unusual: false, terms: term < 0 ? [] : [[axis.position + term, 1]] };
    }
    if (entry.validity.badInput) return { sound: false, unusual: false, terms: [] };
    if (entry.value === "") return null;
    const value = entry.valueAsNumber;
    const [low, high] = axis.plausible;
    const sound = Number.isFinite(value) && (low === null || value >= low) && (high === null || value <= high);
    if (!sound) return { sound, unusual: false, terms: [] };
    const scaled = axis.coding === "log" ? Math.log1p(value) : axis.coding === "asinh" ? Math.asinh(value) : value;
    return { sound, unusual: value < axis.usual[0] || value > axis.usual[1], terms: [[axis.position, scaled]] };
  }

  function tell(field, axis, model, said) {
    const part = said && said.sound ? said.terms.reduce((sum, [i, x]) => sum + model.coefficients[i] * x, 0) : null;
    const points = part === null ? null : (part - axis.smallest) / axis.perPoint;
    field.querySelector(".points").textContent = points === null ? "" : `${points.toFixed(0)} points.`;
    const refused = said !== null && !said.sound;
    const [low, high] = axis.plausible;
    const limits = low === null ? `at most ${high}` : high === null ? `at least ${low}` : `${low} to ${high}`;
    const flag = refused
      ? (low === null && high === null ? "Not a number." : `Not plausible: ${limits} ${axis.unit}`.trim() + ".")
      : said && said.unusual ? "Outside what most training patients had: the model was hardly tried there." : "";
    const place = field.querySelector(".flag");
    if (place.textContent !== flag) place.textContent = flag;
    field.classList.toggle("refused", refused);
    const entry = field.querySelector("input[type=number]");
    if (entry) entry.setAttribute("aria-invalid", String(refused));
    return points;
  }

  function compute(form) {
    const model = models[Number(form.dataset.model)];
    const x = new Array(model.coefficients.length).fill(0);
    x[0] = 1;
    let open = 0, refused = 0, unusual = 0, total = 0;
    for (const field of form.querySelectorAll(".field")) {
      const axis = model.axes[Number(field.dataset.axis)];
      const said = read(field, axis);
      const points = tell(field, axis, model, said);
      if (said === null) open += 1;
      else if (!said.sound) refused += 1;
      else {
        total += points;
        unusual += said.unusual ? 1 : 0;
        for (const [i, value] of said.terms) x[i] = value;
      }
    }
    show(form.querySelector(".result"), model, x, { open, refused, unusual, total });
  }

  function show(box, model, x, counts) {
    const line = box.querySelector(".probability"), detail = box.querySelector(".detail");
    delete box.dataset.probability;
    detail.textContent = "";
    if (counts.refused) line.textContent = "Correct the values that are not plausible.";
    else if (counts.open) line.textContent = counts.open === 1 ? "Enter the last value." : `Enter every value: ${counts.open} are open.`;
    else {
      const predictor = x.reduce((sum, value, i) => sum + value * model.coefficients[i], 0);
      const variance = x.reduce((sum, a, i) => sum + x.reduce((s, b, j) => s + a * b * model.covariance[i][j], 0), 0);
      const reach = NORMAL * Math.sqrt(Math.max(variance, 0));
      const [p, low, high] = [predictor, predictor - reach, predictor + reach].map(logistic);
      Object.assign(box.dataset, { probability: String(p), low: String(low), high: String(high) });
      line.textContent = `Probability ${percent(p)} (95 % interval ${percent(low)} to ${percent(high)})`;
      detail.textContent = `Total: ${counts.total.toFixed(0)} points.` + (counts.unusual
        ? " Some values are outside what most training patients had: do not rely on this." : "")
        + " The interval is of the model's estimate, not of the single patient.";
    }
  }

  for (const form of document.querySelectorAll("form[data-model]")) {
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", (event) => {
      const field = event.target.closest(".field");
      const slider = field && field.querySelector("input[type=range]");
      if (slider) {
        const entry = field.querySelector("input[type=number]");
        if (event.target === slider) entry.value = String(Number(slider.valueAsNumber.toPrecision(3)));
        else if (Number.isFinite(entry.valueAsNumber)) slider.value = entry.value;
        slider.classList.toggle("untouched", entry.value === "");
      }
      compute(form);
    });
    form.addEventListener("reset", () => setTimeout(() => {
      form.querySelectorAll("input[type=range]").forEach((slider) => slider.classList.add("untouched"));
      compute(form);
    }));
    compute(form);
  }
})();
