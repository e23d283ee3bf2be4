import { byId, make } from "./dom";
import { type Run } from "./run";
import { focusHarmlessAction } from "./stage";
import { BlobUrls } from "./urls";

/** An earlier picture beside the current one, to compare seeds or photos. */
export class Beside {
  readonly #figure = byId("beside");
  readonly #urls = new BlobUrls();

  constructor() {
    byId("beside-close").addEventListener("click", () => {
      this.#figure.hidden = true;
      focusHarmlessAction();
    });
  }

  /** Put the latest picture of a job here. */
  put(run: Run): void {
    const picture = run.pictures.at(-1);
    if (!picture) return;
    const { text, seed } = run.record.settings;
    const image = byId<HTMLImageElement>("beside-image");
    this.#urls.giveBack();
    image.src = this.#urls.of(picture.blob);
    image.alt = `An earlier picture: ${text}`;
    byId("beside-caption").replaceChildren(make("bdi", {}, text), seed === undefined ? "" : ` · seed ${seed}`);
    this.#figure.hidden = false;
  }
}
