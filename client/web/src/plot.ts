import { byId, make, makeSvg } from "./dom";
import { type LossPoint } from "./store";

const WIDTH = 100;
const HEIGHT = 30;
const MARGIN = 2;
const TERMS = [
  ["total", "Total"],
  ["direction", "Whole picture"],
  ["patch", "Texture"],
  ["content", "Change"],
  ["totalVariation", "Roughness"],
] as const;

interface Plot {
  readonly term: (typeof TERMS)[number][0];
  readonly label: string;
  readonly svg: SVGElement;
  readonly line: SVGElement;
  readonly value: HTMLElement;
}

/** A small curve of each loss, from the first step to the last. */
export class Plots {
  readonly #place = byId("losses");
  readonly #plots: Plot[] = TERMS.map(([term, label]) => {
    const line = makeSvg("polyline", { points: "", "vector-effect": "non-scaling-stroke" });
    const svg = makeSvg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" }, line);
    return { term, label, svg, line, value: make("span", { className: "loss-value" }) };
  });

  constructor() {
    for (const { label, svg, value } of this.#plots) {
      const head = make("p", { className: "loss-head" }, make("span", {}, label), value);
      this.#place.append(make("div", { className: "loss" }, head, svg));
    }
  }

  show(points: readonly LossPoint[], steps: number): void {
    this.#place.hidden = points.length < 2; // one point is no curve
    const [first, last] = [points[0], points.at(-1)];
    if (!first || !last) return;
    for (const { term, label, svg, line, value } of this.#plots) {
      line.setAttribute("points", polyline(points, term, steps));
      value.textContent = short(last[term]);
      svg.setAttribute("aria-label", `${label}: ${short(first[term])} at first, ${short(last[term])} at step ${last.step}`);
    }
  }
}

function polyline(points: readonly LossPoint[], term: Plot["term"], steps: number): string {
  const values = points.map((point) => point[term]);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const span = high - low || 1;
  const flat = high === low ? 0.5 : 0;
  return points
    .map(({ step }, index) => {
      const x = (step / Math.max(steps, 1)) * WIDTH;
      const y = MARGIN + (1 - flat - (values[index]! - low) / span) * (HEIGHT - 2 * MARGIN);
      return `${x.toFixed(2)},${y.toFixed(2)}`;
    })
    .join(" ");
}

function short(value: number): string {
  return Math.abs(value) >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}
