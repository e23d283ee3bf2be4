declare module "virtual:vocabulary" {
  /** Each look's name and its wordings, in the order of the tiles of `looks.webp`. */
  export const LOOKS: readonly (readonly [string, ...string[]])[];
  /** Words for colors and light that go with any look. */
  export const MODIFIERS: readonly string[];
}
