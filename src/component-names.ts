/**
 * The components of diffusers' pipelines: the keys of model_index.json, and their names for people. A pipeline class whose definition names another
 * component does not compile until it is listed here.
 */

/** The components of diffusers' pipelines, with their names for people. */
export const componentLabels = {
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
} as const

/** A component that `fromPretrained` can swap or leave out. The scheduler has an option of its own. */
export type ComponentName = keyof typeof componentLabels
