import { expect, test } from 'vitest'
import { gatherComponents } from './component-options.js'

test('components named in the options themselves go where the engine looks', () => {
  const unet = { repo: 'someone/sdxl-unet-sharded', subfolder: 'unet' }
  expect(
    gatherComponents({ variant: 'fp16', unet, text_encoder_3: null, components: { vae: 'someone/vae', unet: 'other/unet' } }),
  ).toEqual({
    variant: 'fp16',
    components: { vae: 'someone/vae', unet, text_encoder_3: null },
  })
})

test('options without components stay as they are', () => {
  expect(gatherComponents({ variant: 'fp16', unet: undefined })).toEqual({ variant: 'fp16' })
})
