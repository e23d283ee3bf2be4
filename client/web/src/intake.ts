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
    if (!file || isTextFor(event)) return;
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

/** Whether it is text for a field: programs for documents and tables put a picture of the text beside it. */
function isTextFor({ target, clipboardData }: ClipboardEvent): boolean {
  const types = clipboardData?.types ?? [];
  return target instanceof HTMLInputElement && types.includes("text/plain") && types.includes("text/html");
}

function acceptDrops(take: Take): void {
  const mark = (isOver: boolean) => document.body.classList.toggle("dropping", isOver);
  const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return; // text goes into the field that it is dropped on
    event.preventDefault();
    mark(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) mark(false);
  });
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    mark(false);
    const file = [...(event.dataTransfer?.files ?? [])][0];
    if (file) take(file, file.name);
  });
}
