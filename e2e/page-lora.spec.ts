/** LoRAs on the page: dropped on it, weighted by a slider, named in the picture and in links, and removed. */

import { readFileSync } from 'node:fs'
import type { Page } from '@playwright/test'
import { dropFile, expect, generate, modelReady, openPage, test } from './ui/page-harness.js'

const lora = readFileSync('fixtures/lora/kohya.safetensors')

const pixels = (page: Page) =>
  page.evaluate(() => [...(document.querySelector('aquatint-prompt')?.images[0]?.data ?? [])].join(','))
const loras = (page: Page) => page.evaluate(() => document.querySelector('aquatint-prompt')?.settings.loras)

test('a dropped LoRA is listed, changes the picture by its strength, and is removed again', async ({ page, server }) => {
  server.setRepository('a/model', 'fixtures/tiny-sd15/repo')
  await openPage(page, server, { model: 'a/model', seed: '1', steps: '2' })
  await modelReady(page)
  await generate(page, 'a red apple')
  const plain = await pixels(page)

  await dropFile(page, 'dogs.safetensors', lora)
  await expect(page.getByText('dogs.safetensors was added to the LoRAs.')).toBeVisible()
  await generate(page, 'a red apple')
  const whole = await pixels(page)
  expect(whole).not.toBe(plain)

  const slider = page.getByRole('slider', { name: 'Strength of dogs.safetensors' })
  await slider.fill('0.5')
  expect(await loras(page)).toEqual([{ source: 'dogs.safetensors', weight: 0.5 }])
  await generate(page, 'a red apple')
  expect(await pixels(page)).not.toBe(whole)

  // A click adds the LoRA's trigger words, from the metadata of the file, to the prompt.
  await page.getByRole('button', { name: 'tiny dog', exact: true }).click()
  await expect(page.getByLabel('Prompt', { exact: true })).toHaveValue('a red apple, tiny dog')

  await page.getByRole('button', { name: 'Remove dogs.safetensors' }).click()
  expect(await loras(page)).toBeUndefined()
  await generate(page, 'a red apple')
  expect(await pixels(page)).toBe(plain)

  // The page recognizes a few-step LoRA by its file name, uses the settings that it was made for, and says so.
  const setSteps = (numInferenceSteps: number | undefined) =>
    page.evaluate((steps) => {
      const box = document.querySelector('aquatint-prompt')
      if (box !== null) box.settings = { numInferenceSteps: steps }
    }, numInferenceSteps)
  await setSteps(undefined)
  await dropFile(page, 'Hyper-SD15-8steps-lora.safetensors', lora)
  await expect(
    page.getByText(
      'Empty fields use the settings that Hyper-SD was made for: 8 steps, no guidance, scheduler DDIM, trailing (published as ByteDance/Hyper-SD).',
    ),
  ).toBeVisible()
  expect(await page.evaluate(() => document.querySelector('aquatint-prompt')?.settings)).toMatchObject({
    numInferenceSteps: 8,
    guidanceScale: 0,
    scheduler: 'DDIMScheduler',
    timestepSpacing: 'trailing',
  })
  await page.getByRole('button', { name: 'Remove Hyper-SD15-8steps-lora.safetensors' }).click()
  await expect(page.getByText('Empty fields use')).toBeHidden()
  await setSteps(2)

  // An embedding defines a word; without the embedding, the word is ordinary text.
  await dropFile(page, 'toy.safetensors', readFileSync('fixtures/textual-inversion/diffusers.safetensors'))
  await expect(page.getByText('Prompts can now use the word <cat-toy>.')).toBeVisible()
  await page.getByRole('button', { name: '<cat-toy>', exact: true }).click()
  await expect(page.getByLabel('Prompt', { exact: true })).toHaveValue('a red apple, <cat-toy>')
  await generate(page, 'a red apple, <cat-toy>')
  const learned = await pixels(page)
  await page.getByRole('button', { name: 'Remove <cat-toy>' }).click()
  await generate(page, 'a red apple, <cat-toy>')
  expect(await pixels(page)).not.toBe(learned)

  await test.step('two boxes that share a pipeline generate at once, each with its own LoRA', async () => {
    server.setRepository('a/lora', {
      'dogs.safetensors': lora,
      'cats.safetensors': readFileSync('fixtures/lora/peft.safetensors'),
    })
    const source = (file: string) => `${server.url}/a/lora/blob/main/${file}`
    const [alone, together, secondLoras] = await page.evaluate(
      async (sources) => {
        const first = document.querySelector('aquatint-prompt')
        if (first === null) throw new Error('The page has no box')
        const second = document.createElement('aquatint-prompt')
        for (const name of first.getAttributeNames()) second.setAttribute(name, first.getAttribute(name) ?? '')
        second.loadOptions = first.loadOptions
        document.body.append(second)
        const boxes = [first, second]
        const settings = { ...first.settings, prompt: 'a red apple' }
        first.settings = { ...settings, loras: [{ source: sources[0] ?? '', weight: 1 }] }
        second.settings = settings
        second.setAttribute('lora', `${sources[1]}:0.9`)
        const picture = async (box: (typeof boxes)[number]) => {
          await box.generate()
          return [...(box.images[0]?.data ?? [])].join()
        }
        const apart = []
        for (const box of boxes) apart.push(await picture(box))
        return [apart, await Promise.all(boxes.map((box) => picture(box))), second.settings.loras] as const
      },
      [source('dogs.safetensors'), source('cats.safetensors')],
    )
    expect(alone[0]).not.toBe(alone[1])
    expect(together).toEqual(alone)
    expect(secondLoras).toEqual([{ source: source('cats.safetensors'), weight: 0.9 }])
  })
})

test('a link names LoRAs by their addresses, and a LoRA for another model is refused with a message', async ({
  page,
  server,
}) => {
  server.setRepository('a/model', 'fixtures/tiny-sd15/repo')
  server.setRepository('a/lora', { 'dogs.safetensors': lora })
  server.setRepository('a/other', { 'other.safetensors': readFileSync('fixtures/lora/peft-sd3.safetensors') })
  const source = `${server.url}/a/lora/blob/main/dogs.safetensors`
  await openPage(page, server, { model: 'a/model', lora: `0.5:${source}` })
  await modelReady(page)
  expect(await loras(page)).toEqual([{ source, weight: 0.5 }])
  await generate(page, 'a red apple')
  const parameters = await page.evaluate(async () => {
    const file = document.querySelector('aquatint-prompt')?.value
    return new TextDecoder('latin1').decode(await file?.arrayBuffer())
  })
  expect(parameters).toContain('a red apple<lora:dogs:0.5>')

  await page.evaluate((address) => {
    const box = document.querySelector('aquatint-prompt')
    if (box !== null) box.settings = { loras: [{ source: address, weight: 1 }] }
    void box?.generate().catch(() => {})
  }, `${server.url}/a/other/blob/main/other.safetensors`)
  await expect(page.getByText('It looks like a LoRA for Stable Diffusion 3.', { exact: false }).first()).toBeVisible()
})
