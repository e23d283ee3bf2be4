import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parse } from "smol-toml";
import { defineConfig, type Plugin } from "vite";

const VOCABULARY = fileURLToPath(new URL("../../clipstyler/pocket/vocabulary.toml", import.meta.url));
const MODULE = "virtual:vocabulary";
// Failures of an optimizer, which the vocabulary names to tell them apart from styles.
const NO_STYLES = new Set(["noise", "haze"]);

type Concepts = Record<string, { wordings: string[] }>;
type Vocabulary = { textures: Concepts; media: Concepts; modifiers: Record<string, string[]> };

/** What the bundled encoders know, from the file that they are trained with. */
function vocabulary(): Plugin {
  return {
    name: "vocabulary",
    resolveId: (id) => (id === MODULE ? `\0${MODULE}` : undefined),
    load(id) {
      if (id !== `\0${MODULE}`) return undefined;
      this.addWatchFile(VOCABULARY);
      const { textures, media, modifiers } = parse(readFileSync(VOCABULARY, "utf8")) as unknown as Vocabulary;
      const looks = Object.entries({ ...textures, ...media })
        .filter(([name]) => !NO_STYLES.has(name))
        .map(([name, { wordings }]) => [name, ...wordings]);
      return `export const LOOKS = ${JSON.stringify(looks)};
export const MODIFIERS = ${JSON.stringify(Object.values(modifiers).flat())};`;
    },
  };
}

export default defineConfig({
  base: "./",
  plugins: [vocabulary()],
  resolve: { dedupe: ["@bufbuild/protobuf"] },
  // Everything is a file of its own: the page's content security policy allows no inline code.
  build: {
    // Part of the Python package: who installs that has no Node.js.
    outDir: process.env.CLIPSTYLER_PAGE ?? "../clipstyler_cli/page",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { proxy: { "/clipstyler.v1.": process.env.CLIPSTYLER_GATEWAY ?? "http://127.0.0.1:8080" } },
});
