import { byId, make } from "./dom";
import { isFinal } from "./run";
import { THUMBNAIL, type JobRecord, type Store } from "./store";
import { BlobUrls } from "./urls";
import { when } from "./words";

const SURE_MS = 4_000;

/** What can be done with a job of the list. */
export interface HistoryActions {
  open(name: string): void;
  cancel(name: string): void;
  remove(name: string): void;
}

/** The jobs of this browser, with a search. */
export class History {
  readonly #store: Store;
  readonly #actions: HistoryActions;
  readonly #search = byId<HTMLInputElement>("search");
  readonly #urls = new Map<string, { url: string; blobs: BlobUrls; size: number }>();
  #current: string | undefined;
  #drawn = 0;

  constructor(store: Store, actions: HistoryActions) {
    this.#store = store;
    this.#actions = actions;
    this.#search.addEventListener("input", () => void this.refresh());
    store.onChange(() => void this.refresh());
  }

  /** Mark the job that is shown. */
  mark(name: string | undefined): void {
    this.#current = name;
    void this.refresh();
  }

  /** Draw the list again. */
  async refresh(): Promise<void> {
    const drawing = ++this.#drawn;
    const all = await this.#store.jobs();
    const wanted = this.#search.value.trim().toLowerCase();
    const found = all.filter(({ settings }) => settings.text.toLowerCase().includes(wanted));
    const items = await Promise.all(found.map((job) => this.#item(job)));
    if (drawing !== this.#drawn) return; // a later call has the newer list
    const focused = document.activeElement?.id ?? "";
    byId("jobs").replaceChildren(...items);
    if (focused.startsWith("job-")) document.getElementById(focused)?.focus();
    this.#search.hidden = all.length === 0;
    byId("cancel-all").hidden = all.every(({ state }) => isFinal(state));
    const empty = byId("history-empty");
    empty.hidden = found.length > 0;
    empty.textContent = all.length === 0 ? "Your pictures will be listed here." : `Nothing is called “${wanted}”.`;
  }

  async #item(job: JobRecord): Promise<HTMLLIElement> {
    const id = job.name.replace("stylizations/", "job-");
    const image = make("img", { alt: "", loading: "lazy" });
    const url = await this.#thumbnail(job.name);
    if (url) image.src = url;
    const words = make("span", { className: "job-text" }, job.settings.text);
    const meta = make("span", { className: "job-meta" }, metaOf(job));
    const open = make("button", { id, type: "button", className: "job" }, make("span", { className: "thumb" }, image), words, meta);
    open.addEventListener("click", () => this.#actions.open(job.name));
    if (job.name === this.#current) open.setAttribute("aria-current", "true");
    return make("li", { className: `is-${job.state}` }, open, isFinal(job.state) ? this.#remove(job, id) : this.#cancel(job, id));
  }

  #cancel(job: JobRecord, id: string): HTMLButtonElement {
    const button = make("button", { id: `${id}-cancel`, type: "button", className: "quiet" }, "Cancel");
    button.setAttribute("aria-label", `Cancel ${job.settings.text}`);
    button.addEventListener("click", () => this.#actions.cancel(job.name));
    return button;
  }

  /** Deleting needs a second press, because nothing brings a picture back. */
  #remove(job: JobRecord, id: string): HTMLButtonElement {
    const button = make("button", { id: `${id}-delete`, type: "button", className: "quiet" }, "Delete");
    button.setAttribute("aria-label", `Delete ${job.settings.text}`);
    button.addEventListener("click", () => {
      if (button.classList.contains("sure")) return this.#actions.remove(job.name);
      button.classList.add("sure");
      button.textContent = "Really delete";
      button.setAttribute("aria-label", `Really delete ${job.settings.text}`);
      setTimeout(() => {
        button.classList.remove("sure");
        button.textContent = "Delete";
        button.setAttribute("aria-label", `Delete ${job.settings.text}`);
      }, SURE_MS);
    });
    return button;
  }

  async #thumbnail(name: string): Promise<string | undefined> {
    const blob = await this.#store.image(name, THUMBNAIL);
    const known = this.#urls.get(name);
    if (!blob || known?.size === blob.size) return known?.url;
    known?.blobs.giveBack();
    const blobs = new BlobUrls();
    const url = blobs.of(blob);
    this.#urls.set(name, { url, blobs, size: blob.size });
    return url;
  }
}

function metaOf({ state, step, steps, createdAt, settings }: JobRecord): string {
  const progress = state === "running" && steps ? `${Math.round((100 * step) / steps)} %` : undefined;
  const words = { queued: "waiting", running: "running", succeeded: "", failed: "failed", cancelled: "cancelled" }[state];
  const seed = state === "succeeded" && settings.seed ? `seed ${settings.seed}` : "";
  return [progress ?? words, seed, when(createdAt)].filter(Boolean).join(" · ");
}
