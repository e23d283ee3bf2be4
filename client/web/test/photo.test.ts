import { expect, test } from "vitest";
import { photoFrom } from "../src/photo";

// Here, as in browsers that do not know the format, no image can be decoded; and a file of an unknown format has no type.
test.each(["photo.avif", "photo.heic", "photo.heif", "photo.tif", "photo.TIFF"])("%s is left to the server", async (name) => {
  expect(await photoFrom(new Blob(["photo"]), name, undefined)).toMatchObject({ name, isShown: false });
});

test("what is no image is refused, with the formats that are read", async () => {
  const formats = /^notes.txt is not an image\. Choose a JPEG, PNG, WebP, AVIF, HEIC, TIFF, BMP or GIF file\.$/;
  await expect(photoFrom(new Blob(["photo"]), "notes.txt", undefined)).rejects.toThrow(formats);
});
