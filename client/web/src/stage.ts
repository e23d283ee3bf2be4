import { announce, byId, make, prefersCalm, showText } from "./dom";
import { Frame } from "./frame";
import { type Photo } from "./photo";
import { Plots } from "./plot";
import { type Change, type Picture, type Run } from "./run";
import { JOB_LOST, pixelWords, roughly, sentence, warningText } from "./words";

const TICK_MS = 500;
const SPOKEN_SHARE = 0.25;
// Of the bar, for drawing a result that is larger than it was optimized.
const DRAWN_SHARE = 0.2;

/** The left side of the page: the picture, how far it is, and what can be done with it. */
export class Stage {
  readonly #frame = new Frame(() => showText(byId("photo-note"), "This browser cannot show the photo."));
  readonly #plots = new Plots();
  readonly #drop = byId("drop");
  readonly #scrubRow = byId("scrub-row");
  readonly #scrub = byId<HTMLInputElement>("scrub");
  readonly #progress = byId<HTMLProgressElement>("progress");
  readonly #status = byId("status");
  #run: Run | undefined;
  #isLatest = true;
  #spoken = "";

  constructor() {
    this.#scrub.addEventListener("input", () => {
      this.#isLatest = this.#scrub.value === this.#scrub.max;
      this.#showPicture();
    });
    setInterval(() => this.#showStatus(), TICK_MS);
  }

  /** Show a photo that nothing was done with yet, or the invitation to choose one. */
  showPhoto(photo: Photo | undefined): void {
    this.#run = undefined;
    this.#drop.hidden = photo !== undefined && photo.isShown;
    this.#frame.begin(photo?.isShown ? photo.blob : undefined);
    showText(byId("photo-note"), photo?.note ?? "");
    for (const id of ["scrub-row", "progress-row", "losses", "connection", "run-error", "badge"]) byId(id).hidden = true;
    this.#status.textContent = "";
    byId("warnings").replaceChildren();
    showActions({ "change-photo": photo !== undefined });
    document.title = "clipstyler";
  }

  /** Say that the photo is on its way. */
  showSending(): void {
    byId("progress-row").hidden = false;
    this.#progress.removeAttribute("value");
    this.#status.textContent = "Sending the photo…";
    showText(byId("run-error"), "");
    showActions({});
    this.comeIntoView();
  }

  /** Show a job from now on. */
  showRun(run: Run): void {
    this.#run = run;
    this.#isLatest = true;
    this.#spoken = "";
    this.#drop.hidden = run.photo !== undefined || run.pictures.length > 0;
    this.#frame.begin(run.photo);
    showText(byId("photo-note"), "");
    this.refresh("state");
  }

  /** The list of jobs is far below the picture, and on a phone the button that begins is, too. */
  comeIntoView(): void {
    if (byId("figures").getBoundingClientRect().bottom > 0) return;
    byId("stage-title").scrollIntoView({ behavior: prefersCalm() ? "auto" : "smooth" });
  }

  /** Show what has changed. */
  refresh(change: Change): void {
    const run = this.#run;
    if (!run) return;
    if (change !== "event") this.#showPicture();
    this.#showStatus();
    this.#plots.show(run.record.losses, run.record.steps);
    const lost = "Connection lost. The job goes on; the picture follows when the connection is back.";
    showText(byId("connection"), run.isConnected || run.isRefused || run.isFinal ? "" : lost);
    byId("warnings").replaceChildren(...warningsOf(run).map((text) => make("p", { className: "notice" }, text)));
    const { state, problem } = run.record;
    showText(byId("run-error"), state === "failed" ? problem : run.isGone && !run.result ? JOB_LOST : "");
    if (change !== "event") this.#showActions(run);
    this.#speak(run);
  }

  /** The picture that is shown now; undefined if it is the photo. */
  get picture(): Picture | undefined {
    return this.#run?.pictures[Number(this.#scrub.value)];
  }

  #showPicture(): void {
    const run = this.#run;
    if (!run) return;
    const { pictures } = run;
    this.#scrubRow.hidden = pictures.length < 2;
    this.#scrub.max = String(Math.max(0, pictures.length - 1));
    if (this.#isLatest) this.#scrub.value = this.#scrub.max;
    const { picture } = this;
    if (!picture) return this.#showDraft(run);
    this.#drop.hidden = true;
    byId("frame").hidden = false;
    const isResult = picture.blob === run.result;
    const words = isResult ? "Result" : picture.step === 0 ? "Start" : `Step ${picture.step}`;
    byId("scrub-value").textContent = words;
    this.#scrub.setAttribute("aria-valuetext", words);
    this.#frame.show(picture.blob, `The photo as ${run.record.settings.text}: ${words.toLowerCase()}`);
    showText(byId("badge"), isResult ? "" : `Preview · ${words.toLowerCase()}`);
  }

  /** Before the first picture of a job there may be one in another style. */
  #showDraft({ draft, photo }: Run): void {
    showText(byId("badge"), draft ? `Draft in the style “${draft.text}”` : "");
    if (draft) {
      this.#drop.hidden = true;
      byId("frame").hidden = false;
      this.#frame.show(draft.blob, `The photo in the style ${draft.text}, until there is a preview`);
    } else if (photo) this.#frame.show(photo, "The photo");
  }

  #showStatus(): void {
    const run = this.#run;
    if (!run) return;
    const { state, step, steps, settings } = run.record;
    byId("progress-row").hidden = state === "failed";
    if (state === "queued" || (state === "running" && step === 0)) this.#progress.removeAttribute("value");
    else this.#progress.value = shareOf(run);
    this.#progress.hidden = run.isFinal;
    this.#status.textContent = statusOf(run, performance.now());
    const share = state === "running" && steps ? `${Math.round(100 * shareOf(run))} % · ` : state === "succeeded" ? "✓ " : "";
    document.title = `${share}${settings.text} – clipstyler`;
  }

  #showActions(run: Run): void {
    const { state, isKept } = run.record;
    const isDone = state === "succeeded";
    const isRunning = !run.isFinal;
    byId("save-image").textContent = isDone ? "Download the picture" : "Download this preview";
    showActions({
      "save-image": isDone || (state === "cancelled" && isKept && run.pictures.length > 0),
      keep: isRunning && run.pictures.length > 0,
      cancel: isRunning,
      retry: state === "failed",
      "another-seed": run.isFinal && run.photo !== undefined,
      "another-photo": run.isFinal,
      "save-settings": isDone,
      "copy-link": true,
      "change-photo": run.isFinal,
    });
  }

  #speak(run: Run): void {
    const { state, step, steps } = run.record;
    const quarter = state === "running" && steps ? Math.floor(step / steps / SPOKEN_SHARE) : 0;
    const key = `${state} ${quarter} ${run.drawing !== undefined} ${run.position}`;
    if (key === this.#spoken) return;
    this.#spoken = key;
    announce(this.#status.textContent ?? "");
  }
}

/** Says how a job is. */
export function statusOf(run: Run, now: number): string {
  const { state, step, steps, isKept, isDrawnLarger, pixels, settings } = run.record;
  const place = `step ${step} of ${steps}`;
  switch (state) {
    case "queued":
      return waitingWords(run);
    case "running": {
      if (step === 0) return `Looking at the photo and the words…${partsOf(run)}`;
      const leftMs = run.isConnected ? run.eta.leftMs(now) : undefined;
      const left = leftMs === undefined ? "" : ` · about ${roughly(leftMs)} left`;
      if (run.drawing && run.drawing.tile < run.drawing.tiles) return `Drawing at full size${left}`;
      if (step === steps) return "Finishing…";
      return `Step ${step} of ${steps}${left}${left && isDrawnLarger ? ", then drawn at full size" : ""}`;
    }
    case "succeeded":
      return `Done · ${steps} steps · seed ${settings.seed ?? "unknown"}${pixels ? ` · ${pixelWords(pixels)}` : ""}`;
    case "cancelled": {
      const words = isKept ? "Stopped" : "Cancelled";
      const kept = isKept && run.pictures.length > 0 ? " What you see is the latest preview, not a full result." : "";
      return step ? `${words} at ${place}.${kept}` : `${words} before the first step.`;
    }
    case "failed":
      return "";
  }
}

/** How much of a job is done, from 0 to 1. */
function shareOf({ record: { state, step, steps, isDrawnLarger }, drawing }: Run): number {
  if (state === "succeeded" || steps === 0) return state === "succeeded" ? 1 : 0;
  const drawn = isDrawnLarger ? DRAWN_SHARE : 0;
  return (1 - drawn) * (step / steps) + drawn * (drawing ? drawing.tile / Math.max(1, drawing.tiles) : 0);
}

function partsOf({ preparation }: Run): string {
  return preparation ? ` ${preparation.part} of ${preparation.parts}` : "";
}

function waitingWords(run: Run): string {
  const { position, startTime } = run;
  if (position === 0) return "Next in the queue…";
  const before = position === 1 ? "One job is before yours" : `${position} jobs are before yours`;
  const leftMs = startTime === undefined ? 0 : startTime - Date.now();
  return leftMs > 0 ? `${before} · starts in about ${roughly(leftMs)}` : before;
}

// Shown beside the style instead.
const BESIDE_THE_STYLE = new Set(["TEXT_UNFAMILIAR", "TEXT_CUT"]);

function warningsOf(run: Run): string[] {
  return run.record.warnings.filter(({ code }) => !BESIDE_THE_STYLE.has(code)).map(warningText);
}

/** The warnings about the text of a job, in words. */
export function textWarningOf(run: Run): string {
  const about = run.record.warnings.filter(({ code }) => BESIDE_THE_STYLE.has(code));
  return about.map(({ message }) => sentence(message)).join(" ");
}

const ACTIONS = [
  "retry", "save-image", "keep", "cancel", "another-seed", "another-photo", "save-settings", "copy-link", "change-photo",
] as const;

// Whether the keyboard's place went away while there was no other button.
let isPlaceLost = false;

function showActions(shown: Partial<Record<(typeof ACTIONS)[number], boolean>>): void {
  const focused = document.activeElement;
  for (const id of ACTIONS) byId(id).hidden = !shown[id];
  if (isPlaceLost && focused === document.body) focusHarmlessAction();
  // A button that goes away must not take the keyboard's place with it.
  const isGone = focused?.closest(".stage [hidden]") != null;
  const next = document.querySelector<HTMLElement>(".actions button:not([hidden])");
  if (isGone) next?.focus();
  isPlaceLost = isGone && next === null;
}

/** Gives the keyboard's place to a button that ends nothing: the key that was pressed may be pressed once more. */
export function focusHarmlessAction(): void {
  document.querySelector<HTMLElement>(".action-row.more button:not([hidden])")?.focus();
}
