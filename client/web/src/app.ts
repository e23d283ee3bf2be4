import {
  Code,
  Stylization_ImageKind,
  Stylization_Priority,
  StylizeError,
  type Client,
  type ServerInfo,
} from "@clipstyler/client/web";
import { type Access } from "./access";
import { keepUpToDate } from "./background";
import { Beside } from "./beside";
import { announce, byId, showText } from "./dom";
import { Form } from "./form";
import { History } from "./history";
import { acceptPhotos } from "./intake";
import { PhotoError, photoFrom, takenPhoto, type Photo } from "./photo";
import { isFinal, recordOf, Run, type Change } from "./run";
import { savePicture, saveSettings } from "./save";
import { observeServer } from "./server";
import { drawSeed, fromFragment, settingsOf, specOf, toFragment, type Settings } from "./settings";
import { Stage, textWarningOf } from "./stage";
import { type Store } from "./store";
import { problemText } from "./words";

const GONE = "The server no longer has the job of this link. Choose a photo to repeat its style.";

/** What the page does: brings photo, settings, jobs and their pictures together. */
export class App {
  readonly #client: Client;
  readonly #store: Store;
  readonly #access: Access;
  readonly #stage = new Stage();
  readonly #form = new Form(() => void this.#submit());
  readonly #beside = new Beside();
  readonly #history: History;
  readonly #choosePhoto = acceptPhotos((file, name) => void this.#takePhoto(file, name));
  #info: ServerInfo | undefined;
  #photo: Photo | undefined;
  #run: Run | undefined;
  #isSending = false;
  // What is shown is what was asked for last: what took longer than that comes too late.
  #asked = 0;
  // Opening and deleting take turns: a job that is still being opened when it is deleted would come back.
  #turn: Promise<unknown> = Promise.resolve();
  // A request that got no answer is repeated under its id, so that it is not done twice.
  #unanswered: { settings: string; photo: Photo; requestId: string } | undefined;

  constructor(client: Client, store: Store, access: Access) {
    this.#client = client;
    this.#store = store;
    this.#access = access;
    this.#history = new History(store, {
      open: (name) => void this.#open(name),
      cancel: (name) => void this.#attempt(() => this.#cancel(name)),
      remove: (name) => void this.#attempt(() => this.#inTurn(() => this.#remove(name))),
    });
  }

  /** Begin: with the job of the link, or the one that was running when the page was left. */
  start(exampleUrl: string): void {
    this.#connectButtons(exampleUrl);
    window.addEventListener("hashchange", () => void this.#route());
    this.#access.onChange = observeServer(this.#client, (info) => {
      this.#info = info;
      this.#form.showServer(info);
      if (this.#run) this.#showTextWarning(this.#run);
    });
    const isShown = (name: string) => this.#run?.name === name;
    keepUpToDate(this.#store, this.#client.jobs, isShown, () => void this.#history.refresh());
    void this.#history.refresh();
    void this.#route();
  }

  async #route(): Promise<void> {
    const { settings, job, isEmpty } = fromFragment(location.hash);
    if (!isEmpty) this.#form.fill(settings);
    if (job) return this.#open(job);
    if (!isEmpty || this.#photo) return;
    const [latest] = (await this.#store.jobs()).filter(({ state }) => !isFinal(state));
    if (latest) await this.#open(latest.name);
  }

  #connectButtons(exampleUrl: string): void {
    document.querySelector(".skip")?.addEventListener("click", (event) => {
      event.preventDefault(); // the fragment of the address is the link of the job
      this.#form.focusText();
    });
    const on = (id: string, act: () => unknown) => byId(id).addEventListener("click", () => void this.#attempt(act));
    on("choose", () => this.#choosePhoto());
    on("change-photo", () => this.#choosePhoto());
    on("example", () => this.#takePhoto(fetch(exampleUrl).then((response) => response.blob()), "cat.jpg"));
    on("cancel", () => this.#run?.cancel(this.#client.jobs, false));
    on("keep", () => this.#run?.cancel(this.#client.jobs, true));
    on("retry", () => this.#submit());
    on("another-seed", () => this.#anotherSeed());
    on("another-photo", () => this.#choosePhoto((file, name) => void this.#anotherPhoto(file, name)));
    on("save-image", () => this.#run && savePicture(this.#run, this.#stage.picture?.blob ?? this.#run.photo!));
    on("save-settings", () => this.#run && saveSettings(this.#run));
    on("copy-link", () => this.#copyLink());
    on("cancel-all", () => this.#cancelAll());
  }

  /** Do something; what goes wrong is said below the buttons. */
  async #attempt(act: () => unknown): Promise<void> {
    showText(byId("action-note"), "");
    try {
      await act();
    } catch (thrown) {
      this.#say("action-note", StylizeError.from(thrown), () => void this.#attempt(act));
    }
  }

  /** Say in an element what went wrong; without a valid token ask for one there, and try again. */
  #say(id: string, error: StylizeError, retry: () => void): void {
    const isRefused = error.code === Code.Unauthenticated;
    showText(byId(id), isRefused ? "" : problemText(error));
    if (isRefused) this.#access.askBelow(id, retry);
  }

  /** Note that something else is asked for; returns whether it still is what was asked for last. */
  #ask(): () => boolean {
    const asked = ++this.#asked;
    return () => asked === this.#asked;
  }

  async #takePhoto(file: Blob | Promise<Blob>, name: string): Promise<boolean> {
    const isWanted = this.#ask();
    try {
      const photo = await photoFrom(await file, name, this.#info);
      if (!isWanted()) return false;
      void this.#leaveRun();
      this.#photo = photo;
      this.#form.clearErrors();
      this.#stage.showPhoto(photo);
      announce(`${name} is chosen.`);
      return true;
    } catch (thrown) {
      if (!(thrown instanceof PhotoError)) throw thrown;
      if (!isWanted()) return false;
      this.#form.clearErrors();
      showText(byId("photo-error"), thrown.message);
      return false;
    }
  }

  async #submit(): Promise<void> {
    const settings = this.#form.read();
    if (!this.#photo) {
      showText(byId("photo-error"), "Choose a photo first.");
      if (settings) byId("choose").focus();
    }
    if (!settings || !this.#photo || this.#isSending) return;
    await this.#send(settings, this.#photo);
  }

  async #send(settings: Settings, photo: Photo): Promise<void> {
    this.#setSending(true);
    this.#stage.showSending();
    try {
      const job = await this.#client.jobs.create({
        photo: photo.blob,
        ...specOf(settings, this.#info, photo.longestPx),
        ...this.#requestId(settings, photo),
        priority: Stylization_Priority.HIGH,
      });
      this.#unanswered = undefined;
      const run = new Run(this.#store, recordOf(job, settings, photo.name));
      if (this.#photo === photo) this.#showSent(run, photo.blob, settings);
      else run.onSaved = () => void this.#history.refresh(); // another photo or job is looked at by now
      void run.keep(photo.blob);
    } catch (thrown) {
      if (this.#run) this.#stage.showRun(this.#run);
      else this.#stage.showPhoto(this.#photo);
      this.#showRefusal(StylizeError.from(thrown));
    } finally {
      this.#setSending(false);
    }
  }

  #showSent(run: Run, photo: Blob, settings: Settings): void {
    this.#show(run, photo);
    history.pushState(null, "", toFragment(settings, run.name));
  }

  #setSending(isSending: boolean): void {
    this.#isSending = isSending;
    byId("submit").ariaDisabled = String(isSending); // not disabled: the keyboard's place would be lost
  }

  /** Outside secure contexts browsers draw no UUIDs; the client then draws one for each request. */
  #requestId(settings: Settings, photo: Photo): { requestId?: string } {
    if (!("randomUUID" in crypto)) return {};
    const asked = { settings: JSON.stringify(settings), photo };
    const last = this.#unanswered;
    const isSame = last?.settings === asked.settings && last.photo === photo;
    const { requestId } = (this.#unanswered = isSame ? last : { ...asked, requestId: crypto.randomUUID() });
    return { requestId };
  }

  #showRefusal(error: StylizeError): void {
    if (error.code !== Code.Unavailable && error.code !== Code.DeadlineExceeded) this.#unanswered = undefined;
    const rest = this.#form.showViolations(error.violations);
    if (error.violations.length) showText(byId("form-error"), rest);
    else this.#say("form-error", error, () => void this.#submit());
  }

  /** Show a job from now on, and follow it. */
  #show(run: Run, photo: Blob | undefined): void {
    void this.#leaveRun();
    this.#run = run;
    run.photo = photo;
    run.onChange = (change) => this.#refresh(run, change);
    run.onSaved = () => void this.#history.refresh();
    this.#stage.showRun(run);
    this.#showTextWarning(run);
    this.#history.mark(run.name);
    void run.follow(this.#client.jobs);
  }

  #refresh(run: Run, change: Change): void {
    this.#stage.refresh(change);
    this.#showTextWarning(run);
    if (change === "state" && run.record.state === "succeeded") history.replaceState(null, "", toFragment(run.record.settings, run.name));
  }

  #showTextWarning(run: Run): void {
    this.#form.showTextWarning(textWarningOf(run), run.record.settings.text);
  }

  async #leaveRun(): Promise<void> {
    const run = this.#run;
    this.#run = undefined;
    this.#history.mark(undefined);
    showText(byId("action-note"), "");
    showText(byId("form-error"), "");
    await run?.leave();
  }

  #inTurn(act: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(act);
    this.#turn = done.catch(() => {});
    return done;
  }

  /** Open a job of this browser, or of another one by its link. */
  #open(name: string): Promise<void> {
    const isWanted = this.#ask();
    return this.#inTurn(() => this.#openNow(name, isWanted));
  }

  async #openNow(name: string, isWanted: () => boolean): Promise<void> {
    if (!isWanted() || this.#run?.name === name) return;
    const known = await this.#store.job(name);
    const run = known ? await Run.restore(this.#store, known) : await this.#adopt(name);
    if (!run) return;
    const { settings, photoName } = run.record;
    const photo = run.photo && (await takenPhoto(run.photo, photoName));
    if (!isWanted()) return;
    this.#form.fill(settings);
    this.#photo = photo;
    this.#show(run, run.photo);
    this.#stage.comeIntoView();
    const isInAddress = fromFragment(location.hash).job === name;
    history[isInAddress ? "replaceState" : "pushState"](null, "", toFragment(settings, name));
  }

  /** Bring a job that another browser created into this one. */
  async #adopt(name: string): Promise<Run | undefined> {
    try {
      const { jobs } = this.#client;
      const job = await jobs.get(name);
      const { data } = await jobs.download(name, Stylization_ImageKind.CONTENT);
      const { settings } = fromFragment(location.hash);
      const asked = settings.text === job.spec?.styleText ? settings : settingsOf(job.spec, this.#info);
      const run = new Run(this.#store, recordOf(job, asked, "the photo"));
      await run.keep(new Blob([data as Uint8Array<ArrayBuffer>]));
      return run;
    } catch (thrown) {
      const error = StylizeError.from(thrown);
      if (error.code === Code.NotFound) showText(byId("photo-error"), GONE);
      else this.#say("photo-error", error, () => void this.#route());
      return undefined;
    }
  }

  async #anotherSeed(): Promise<void> {
    const run = this.#run;
    const photo = this.#photo;
    if (!run || !photo) return;
    this.#beside.put(run);
    const settings = { ...run.record.settings, seed: drawSeed() };
    this.#form.fill(settings);
    await this.#send(settings, photo);
  }

  async #anotherPhoto(file: Blob, name: string): Promise<void> {
    const run = this.#run;
    if (!run) return;
    this.#form.fill(run.record.settings);
    const { settings } = run.record;
    if (!(await this.#takePhoto(file, name))) return;
    this.#beside.put(run);
    await this.#send(settings, this.#photo!);
  }

  async #cancel(name: string): Promise<void> {
    if (this.#run?.name === name) await this.#run.cancel(this.#client.jobs, false);
    else await this.#client.jobs.cancel(name);
  }

  async #cancelAll(): Promise<void> {
    const active = (await this.#store.jobs()).filter(({ state }) => !isFinal(state));
    await Promise.all(active.map(({ name }) => this.#cancel(name)));
    announce(`${active.length} cancelled.`);
  }

  async #remove(name: string): Promise<void> {
    try {
      await this.#client.jobs.delete(name);
    } catch (thrown) {
      // Without a server the picture goes from this browser only, and the server's retention deletes the rest.
      const { code } = StylizeError.from(thrown);
      if (code !== Code.NotFound && code !== Code.Unavailable && code !== Code.FailedPrecondition) throw thrown;
    }
    if (this.#run?.name === name) {
      await this.#leaveRun();
      this.#stage.showPhoto(this.#photo);
      history.replaceState(null, "", location.pathname);
    }
    await this.#store.deleteJob(name);
    await this.#history.refresh();
    byId("history-title").focus();
  }

  async #copyLink(): Promise<void> {
    const run = this.#run;
    if (!run) return;
    const link = new URL(toFragment(run.record.settings, run.name), location.href);
    try {
      await navigator.clipboard.writeText(link.href);
      showText(byId("action-note"), "The link is copied.");
    } catch {
      showText(byId("action-note"), "The address bar has the link.");
    }
  }
}
