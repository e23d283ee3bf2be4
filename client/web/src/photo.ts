import { type ServerInfo } from "@clipstyler/client/web";
import { fileSize } from "./words";

const THUMBNAIL_PX = 160;
// Side and quality of a photo that was over the server's limit; more than any preset works with.
const SHRUNK_PX = 3072;
const SHRUNK_QUALITY = 0.92;
const HEADROOM = 0.95;
const SHRINK_ATTEMPTS = 6;
// Formats that the server reads and most browsers do not show.
const UNSHOWN = /\.(avif|hei[cf]|tiff?)$/i;

/** A photo that is ready to be sent. */
export interface Photo {
  readonly blob: Blob;
  readonly name: string;
  /** Its longest side in pixels; undefined if this browser cannot read it. */
  readonly longestPx?: number;
  /** Whether this browser can show it. */
  readonly isShown: boolean;
  /** What was done to it, in words; empty if nothing. */
  readonly note: string;
}

/** A file that cannot be used, in words. */
export class PhotoError extends Error {}

/** Reads a file, and makes it smaller if it is over the server's limits. */
export async function photoFrom(file: Blob, name: string, info: ServerInfo | undefined): Promise<Photo> {
  if (file.size === 0) throw new PhotoError(`${name} is empty.`);
  const bitmap = await decode(file);
  if (!bitmap) return unshown(file, name, info);
  const maxBytes = Number(info?.limits?.maxImageBytes ?? Infinity);
  const maxPixels = Number(info?.limits?.maxImagePixels ?? Infinity);
  const { width, height } = bitmap;
  if (file.size <= maxBytes && width * height <= maxPixels) {
    bitmap.close();
    return { blob: file, name, longestPx: Math.max(width, height), isShown: true, note: "" };
  }
  let scale = Math.min(1, SHRUNK_PX / Math.max(width, height), Math.sqrt((HEADROOM * maxPixels) / (width * height)));
  let blob = await draw(bitmap, scale, "image/jpeg", SHRUNK_QUALITY);
  for (let attempt = 1; blob.size > maxBytes && attempt < SHRINK_ATTEMPTS; attempt++) {
    scale *= HEADROOM * Math.sqrt(maxBytes / blob.size);
    blob = await draw(bitmap, scale, "image/jpeg", SHRUNK_QUALITY);
  }
  bitmap.close();
  const smaller = `${Math.round(width * scale)} × ${Math.round(height * scale)} px`;
  if (blob.size > maxBytes) throw new PhotoError(`${name} is too large: the server takes ${fileSize(maxBytes)}.`);
  const longestPx = Math.round(scale * Math.max(width, height));
  return { blob, name, longestPx, isShown: true, note: `Made smaller for the server: ${smaller}, ${fileSize(blob.size)}.` };
}

/** The photo of a job: the server has taken it as it is, whether this browser can show it or not. */
export async function takenPhoto(file: Blob, name: string): Promise<Photo> {
  const bitmap = await decode(file);
  if (!bitmap) return unshownPhoto(file, name);
  const longestPx = Math.max(bitmap.width, bitmap.height);
  bitmap.close();
  return { blob: file, name, longestPx, isShown: true, note: "" };
}

/** Draws a small picture of an image; undefined if this browser cannot show it. */
export async function thumbnail(image: Blob): Promise<Blob | undefined> {
  const bitmap = await decode(image);
  if (!bitmap) return undefined;
  const blob = await draw(bitmap, Math.min(1, THUMBNAIL_PX / Math.max(bitmap.width, bitmap.height)), "image/webp", 0.8);
  bitmap.close();
  return blob;
}

function unshown(file: Blob, name: string, info: ServerInfo | undefined): Photo {
  const maxBytes = Number(info?.limits?.maxImageBytes ?? Infinity);
  if (!file.type.startsWith("image/") && !UNSHOWN.test(name)) {
    throw new PhotoError(`${name} is not an image. Choose a JPEG, PNG, WebP, AVIF, HEIC, TIFF, BMP or GIF file.`);
  }
  if (file.size > maxBytes) {
    throw new PhotoError(`${name} has ${fileSize(file.size)}; the server takes ${fileSize(maxBytes)}.`);
  }
  return unshownPhoto(file, name);
}

function unshownPhoto(file: Blob, name: string): Photo {
  return { blob: file, name, isShown: false, note: `This browser cannot show ${name}; the server may read it.` };
}

async function decode(file: Blob): Promise<ImageBitmap | undefined> {
  try {
    return await createImageBitmap(file);
  } catch {
    return undefined;
  }
}

async function draw(bitmap: ImageBitmap, scale: number, type: string, quality: number): Promise<Blob> {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  if (!context) throw new PhotoError("This browser cannot draw images.");
  context.imageSmoothingQuality = "high";
  if (type === "image/jpeg") {
    context.fillStyle = "white"; // what the server puts behind transparent pixels too
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, type, quality));
  if (!blob) throw new PhotoError("This browser cannot encode images.");
  return blob;
}
