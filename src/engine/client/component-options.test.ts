import { expect, test } from 'vitest'
import { gatherComponents } from './component-options.js'

test('components given directly in the options are moved to `components`', () => {
  const unet = { repo: 'someone/sdxl-unet-sharded', subfolder: 'unet' }
  expect(
    gatherComponents(
      { variant: 'fp16', unet, text_encoder_3: null, components: { vae: 'someone/vae', unet: 'other/unet' } },
      (repo) => repo,
    ),
  ).toEqual({
    variant: 'fp16',
    components: { vae: 'someone/vae', unet, text_encoder_3: null },
  })
})

test('options without components stay as they are', () => {
  expect(gatherComponents({ variant: 'fp16', unet: undefined }, (repo) => repo)).toEqual({ variant: 'fp16' })
})

test('the repositories of components are resolved like that of the pipeline', () => {
  const options = { unet: './b', safety_checker: null, components: { vae: { repo: './c', subfolder: 'vae' } } }
  expect(gatherComponents(options, (repo) => `https://site.example/${repo.slice(2)}`)).toEqual({
    components: {
      unet: 'https://site.example/b',
      safety_checker: null,
      vae: { repo: 'https://site.example/c', subfolder: 'vae' },
    },
  })
})
