import { arrange, byId, make } from "./dom";
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
  readonly #items = new Map<string, Item>();
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
    const urls = await Promise.all(found.map(({ name }) => this.#thumbnail(name)));
    if (drawing !== this.#drawn) return; // a later call has the newer list
    arrange(byId("jobs"), found.map((job, index) => this.#item(job, urls[index])));
    this.#search.hidden = all.length === 0;
    byId("cancel-all").hidden = all.every(({ state }) => isFinal(state));
    const empty = byId("history-empty");
    empty.hidden = found.length > 0;
    empty.textContent = all.length === 0 ? "Your pictures will be listed here." : `Nothing is called “${wanted}”.`;
  }

  #item(job: JobRecord, url: string | undefined): HTMLLIElement {
    const item = this.#items.get(job.name) ?? new Item(job.name, this.#actions);
    this.#items.set(job.name, item);
    item.show(job, url, job.name === this.#current);
    return item.element;
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

/** A job of the list. It changes in place: a press that began before a change still ends on the same button. */
class Item {
  readonly element = make("li", {});
  readonly #name: string;
  readonly #id: string;
  readonly #actions: HistoryActions;
  readonly #image = make("img", { alt: "", loading: "lazy" });
  readonly #words = make("span", { className: "job-text", dir: "auto" });
  readonly #meta = make("span", { className: "job-meta" });
  readonly #open: HTMLButtonElement;
  #button: HTMLButtonElement | undefined;
  #isFinal: boolean | undefined;

  constructor(name: string, actions: HistoryActions) {
    this.#name = name;
    this.#id = name.replace("stylizations/", "job-");
    this.#actions = actions;
    const thumb = make("span", { className: "thumb" }, this.#image);
    this.#open = make("button", { id: this.#id, type: "button", className: "job" }, thumb, this.#words, this.#meta);
    this.#open.addEventListener("click", () => actions.open(name));
    this.element.append(this.#open);
  }

  show(job: JobRecord, url: string | undefined, isCurrent: boolean): void {
    this.element.className = job.isKept && job.state === "cancelled" ? "is-kept" : `is-${job.state}`;
    if (url && this.#image.src !== url) this.#image.src = url;
    this.#words.textContent = job.settings.text;
    this.#meta.textContent = metaOf(job);
    if (isCurrent) this.#open.setAttribute("aria-current", "true");
    else this.#open.removeAttribute("aria-current");
    if (this.#isFinal !== isFinal(job.state)) this.#offer(isFinal(job.state), job.settings.text);
  }

  #offer(isFinal: boolean, text: string): void {
    const before = this.#button;
    this.#isFinal = isFinal;
    this.#button = isFinal ? this.#remove(text) : this.#cancel(text);
    const hadFocus = before !== undefined && before === document.activeElement;
    before?.remove();
    this.element.append(this.#button);
    if (hadFocus) this.#button.focus();
  }

  #cancel(text: string): HTMLButtonElement {
    const button = make("button", { id: `${this.#id}-cancel`, type: "button", className: "quiet" }, "Cancel");
    button.setAttribute("aria-label", `Cancel ${text}`);
    button.addEventListener("click", () => this.#actions.cancel(this.#name));
    return button;
  }

  /** Deleting needs a second press, because nothing brings a picture back. */
  #remove(text: string): HTMLButtonElement {
    const button = make("button", { id: `${this.#id}-delete`, type: "button", className: "quiet" }, "Delete");
    const say = (words: string) => {
      button.textContent = words;
      button.setAttribute("aria-label", `${words} ${text}`);
    };
    say("Delete");
    button.addEventListener("click", () => {
      if (button.classList.contains("sure")) return this.#actions.remove(this.#name);
      button.classList.add("sure");
      say("Really delete");
      setTimeout(() => {
        button.classList.remove("sure");
        say("Delete");
      }, SURE_MS);
    });
    return button;
  }
}

function metaOf({ state, step, steps, createdAt, settings, isKept }: JobRecord): string {
  const share = step < steps ? `${Math.round((100 * step) / steps)} %` : "finishing";
  const progress = state === "running" && steps ? share : undefined;
  const cancelled = isKept ? `stopped at step ${step}` : "cancelled";
  const words = { queued: "waiting", running: "running", succeeded: "", failed: "failed", cancelled }[state];
  const seed = state === "succeeded" && settings.seed ? `seed ${settings.seed}` : "";
  return [progress ?? words, seed, when(createdAt)].filter(Boolean).join(" · ");
}
