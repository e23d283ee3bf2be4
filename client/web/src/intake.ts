import { byId } from "./dom";

export type Take = (file: Blob, name: string) => void;

/** Hands on every photo that is dropped or pasted. Returns the function that lets the user choose one. */
export function acceptPhotos(take: Take): (takeChosen?: Take) => void {
  const input = byId<HTMLInputElement>("file");
  let takeChosen = take;
  input.addEventListener("change", () => {
    const [file] = input.files ?? [];
    if (file) takeChosen(file, file.name);
  });
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])][0];
    if (!file) return;
    event.preventDefault();
    take(file, file.name || "the pasted photo");
  });
  acceptDrops(take);
  return (chosen = take) => {
    takeChosen = chosen;
    input.value = ""; // the same file may be chosen again
    input.click();
  };
}

function acceptDrops(take: Take): void {
  const mark = (isOver: boolean) => document.body.classList.toggle("dropping", isOver);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) mark(false);
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    const file = [...(event.dataTransfer?.files ?? [])][0];
    if (file) take(file, file.name);
  });
}
