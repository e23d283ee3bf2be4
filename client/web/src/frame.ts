import { byId, prefersCalm } from "./dom";
import { BlobUrls } from "./urls";

const FADE_MS = 350;

/** The picture: what it is now, fading into what it becomes, with the photo before it up to the divider. */
export class Frame {
  readonly #frame = byId("frame");
  readonly #under = byId<HTMLImageElement>("under");
  readonly #over = byId<HTMLImageElement>("over");
  readonly #before = byId<HTMLImageElement>("before");
  readonly #compare = byId<HTMLInputElement>("compare");
  readonly #urls = new BlobUrls();
  #shown: Blob | undefined;
  #photo: Blob | undefined;
  #isPhotoShown = true;

  /** `cannotShow` is called if the photo is in a format that this browser does not know. */
  constructor(cannotShow: () => void) {
    this.#compare.addEventListener("input", () => this.#cut());
    this.#over.addEventListener("load", () => this.#fit(this.#over));
    this.#before.addEventListener("error", () => {
      this.#isPhotoShown = false;
      this.#allowComparison(false);
      if (this.#shown === this.#photo) this.#frame.hidden = true;
      cannotShow();
    });
  }

  /** Begin with a photo; undefined takes the picture away. */
  begin(photo: Blob | undefined): void {
    if (photo === this.#photo && photo === this.#shown) return;
    this.#urls.giveBack();
    this.#photo = photo;
    this.#shown = undefined;
    this.#isPhotoShown = true;
    this.#frame.hidden = !photo;
    for (const image of [this.#under, this.#over, this.#before]) image.removeAttribute("src");
    this.#allowComparison(false);
    if (!photo) return;
    this.#before.src = this.#urls.of(photo);
    this.show(photo, "The photo");
  }

  /** Show a picture, described for those who do not see it. */
  show(picture: Blob, description: string): void {
    this.#over.alt = description;
    if (picture === this.#shown) return;
    const isFirst = this.#shown === undefined;
    this.#shown = picture;
    if (!isFirst) this.#under.src = this.#over.src;
    this.#over.src = this.#urls.of(picture);
    if (!isFirst && !prefersCalm()) {
      this.#over.animate([{ opacity: 0 }, { opacity: 1 }], { duration: FADE_MS, easing: "ease-out" });
    }
    this.#allowComparison(picture !== this.#photo && this.#isPhotoShown);
  }

  #allowComparison(isPossible: boolean): void {
    if (!isPossible) this.#compare.value = "0";
    this.#frame.classList.toggle("comparable", isPossible);
    this.#compare.disabled = !isPossible;
    this.#cut();
  }

  #cut(): void {
    const share = this.#compare.value;
    this.#frame.style.setProperty("--cut", `${share}%`);
    const words = share === "0" ? "After" : share === "100" ? "Before" : `Before up to ${share} percent, then after`;
    this.#compare.setAttribute("aria-valuetext", words);
  }

  #fit(image: HTMLImageElement): void {
    const ratio = image.naturalWidth / Math.max(1, image.naturalHeight);
    if (ratio > 0) this.#frame.style.setProperty("--ratio", String(ratio));
  }
}
