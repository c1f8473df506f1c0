/** The components of diffusers' pipelines: the keys of model_index.json, and their names for people. */

const labels = {
  text_encoder: 'text encoder',
  text_encoder_2: 'second text encoder',
  text_encoder_3: 'third text encoder',
  unet: 'UNet',
  transformer: 'transformer',
  vae: 'image decoder',
  tokenizer: 'tokenizer',
  tokenizer_2: 'second tokenizer',
  tokenizer_3: 'third tokenizer',
  safety_checker: 'safety checker',
  feature_extractor: 'feature extractor',
  image_encoder: 'image encoder',
  preview_decoder: 'preview decoder',
} as const

/**
 * A component that `fromPretrained` can replace or omit; the scheduler has an option of its own. No checkpoint has a
 * `preview_decoder`: Aquatint adds one if the option names a repository with an `AutoencoderTiny`, or is `auto`. With `auto`, Aquatint uses the
 * AutoencoderTiny that is published for the model's family, if there is one. A pipeline class that names a component missing from this list does
 * not compile.
 */
export type ComponentName = keyof typeof labels

/** Every component name. */
export const componentNames = Object.keys(labels) as readonly ComponentName[]

/** The name of a component for people, such as `second text encoder`; an unknown component keeps its own name. */
export function componentLabel(component: string): string {
  return Object.hasOwn(labels, component) ? labels[component as ComponentName] : component
}
