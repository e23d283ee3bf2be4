import { Code, ConnectError, StylizeError, type Interceptor } from "@clipstyler/client/web";
import { announce, byId, showText } from "./dom";

const KEY = "clipstyler-token";
// What a header may contain.
const TOKEN = /^[\x21-\x7e]+$/;
const WORDS: Readonly<Record<string, string>> = {
  CREDENTIALS_MISSING: "This server asks for an access token.",
  CREDENTIALS_INVALID: "The server does not accept this token. Check it, or ask its operator for another one.",
  CREDENTIALS_EXPIRED: "This token has expired. Ask the operator of the server for a new one.",
};
const ONLY_ENCRYPTED = "A token is sent by HTTPS only: open this page at its https address.";

/**
 * The access token: shown to the server with every call, and asked for beside what failed without a valid one.
 *
 * It is kept in this tab until that is closed. After a refusal nothing is sent until there is another token.
 */
export class Access {
  readonly #place = byId("access");
  readonly #input = byId<HTMLInputElement>("token");
  #token = storedToken();
  #refusal: ConnectError | undefined;
  #retry = () => {};
  /** Called when there is another token, or none any more. */
  onChange: () => void = () => {};

  constructor() {
    byId("access-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#give(this.#input.value.trim());
    });
    byId("forget").addEventListener("click", () => {
      this.#keep("");
      byId("forget").hidden = true;
      this.onChange();
    });
  }

  readonly interceptor: Interceptor = (next) => async (request) => {
    if (this.#refusal) throw this.#refusal;
    const token = this.#token;
    if (token) request.header.set("authorization", `Bearer ${token}`);
    try {
      const response = await next(request);
      // The status of a stream comes at its end.
      if (!response.stream && token === this.#token) this.#accepted();
      return response;
    } catch (thrown) {
      const error = ConnectError.from(thrown);
      if (error.code === Code.Unauthenticated && token === this.#token) this.#refused(error);
      throw thrown;
    }
  };

  /** Ask for a token below an element, because something failed there; `retry` repeats it once the token is accepted. */
  askBelow(id: string, retry: () => void): void {
    byId(id).after(this.#place);
    this.#retry = retry;
    this.#input.focus();
  }

  #give(token: string): void {
    if (!TOKEN.test(token)) {
      showText(byId("access-words"), "A token has no spaces and no special characters. Paste it as it was given to you.");
      return;
    }
    this.#keep(token);
    showText(byId("access-words"), "Asking the server…");
    this.onChange();
  }

  #keep(token: string): void {
    this.#token = token;
    this.#refusal = undefined;
    try {
      if (token) sessionStorage.setItem(KEY, token);
      else sessionStorage.removeItem(KEY);
    } catch {
      // Without storage it lasts until the page is left.
    }
  }

  #accepted(): void {
    byId("forget").hidden = this.#token === "";
    if (this.#place.hidden) return;
    const hadFocus = this.#place.contains(document.activeElement);
    this.#place.hidden = true;
    this.#input.value = "";
    byId("top").after(this.#place);
    if (hadFocus) byId("style-text").focus();
    announce("The token is accepted.");
    const retry = this.#retry;
    this.#retry = () => {};
    retry();
  }

  #refused(error: ConnectError): void {
    this.#refusal = error;
    const { reason, message } = StylizeError.from(error);
    byId("token-row").hidden = !isSecureContext;
    showText(byId("access-words"), [WORDS[reason] ?? message, ...(isSecureContext ? [] : [ONLY_ENCRYPTED])].join(" "));
    byId("forget").hidden = true;
    this.#place.hidden = false;
    if (this.#place.contains(document.activeElement)) this.#input.select();
  }
}

function storedToken(): string {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}
