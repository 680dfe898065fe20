/* A slider beside the percentage. Without it, the number is typed. */
"use strict";

for (const number of document.querySelectorAll("[data-strangler-slider]")) {
    const slider = document.createElement("input");
    slider.type = "range";
    slider.min = 0;
    slider.max = 100;
    slider.step = 1;
    slider.className = "strangler-slider";
    slider.setAttribute("aria-label", number.labels[0]?.textContent ?? "");
    slider.value = number.value;
    slider.addEventListener("input", () => { number.value = slider.value; });
    number.addEventListener("input", () => { slider.value = number.value; });
    number.after(slider);
}
