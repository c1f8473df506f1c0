/**
 * The bundled model in the browser draws what it draws in diffusers: for the same prompts and seeds the same judge names the same
 * subjects and backgrounds. Every thirtieth prompt of the evaluation here; all of them with `npm run evaluate`, which prints the shares.
 */
import { readFileSync } from 'node:fs'
import { expect, test } from '@playwright/test'
import type { AquatintPrompt } from '../src/ui/element.js'
import { Judge, type Evaluation } from './bundled/judge.js'

const evaluation = JSON.parse(readFileSync('e2e/data/bundled-model-eval.json', 'utf8')) as Evaluation
const measured = JSON.parse(readFileSync('training/evaluation.json', 'utf8')) as {
  readonly steps: number
  readonly guidance_scale: number
  readonly top1: number
  readonly background: number
  readonly wrong: readonly {
    readonly prompt: string
    readonly seed: number
    readonly nearest: string
    readonly background: string
  }[]
}
const all = process.env['AQUATINT_EVALUATE'] === 'all'
const prompts = evaluation.prompts.filter((_, index) => all || index % 30 === 0)

test('the bundled model names in the browser what it names in diffusers', async ({ page }) => {
  test.setTimeout(600_000 + prompts.length * 30_000)
  await page.goto('/?device=wasm')
  const judge = new Judge(evaluation)
  let subjects = 0
  let backgrounds = 0
  for (const { prompt, seed, subject, colour } of prompts) {
    const picture = await page.evaluate(
      async ([words, number, steps, guidance]) => {
        const box: AquatintPrompt | null = document.querySelector('aquatint-prompt')
        if (box === null) throw new Error('The page has no prompt box')
        box.settings = { ...box.settings, prompt: words, seed: number, numInferenceSteps: steps, guidanceScale: guidance }
        const { images } = await box.generate()
        const [image] = images
        if (image === undefined) throw new Error('No image')
        return { width: image.width, height: image.height, data: [...image.data] }
      },
      [prompt, seed, measured.steps, measured.guidance_scale] as const,
    )
    const inDiffusers = measured.wrong.find((wrong) => wrong.prompt === prompt && wrong.seed === seed)
    const nearest = evaluation.subjects[judge.nearest(picture)]
    const background = judge.background(picture)
    expect.soft(nearest, prompt).toBe(inDiffusers?.nearest ?? evaluation.subjects[subject])
    expect.soft(background, prompt).toBe(inDiffusers?.background ?? colour)
    if (nearest === evaluation.subjects[subject]) subjects++
    if (background === colour) backgrounds++
  }
  const share = (count: number) => `${((100 * count) / prompts.length).toFixed(1)} %`
  console.log(`bundled model, ${prompts.length} prompts: top 1 ${share(subjects)}, background ${share(backgrounds)}`)
})

test('a red apple is mostly red and nearest to the apple; another seed is another picture', async ({ page }) => {
  await page.goto('/?device=wasm')
  const draw = (seed: number) =>
    page.evaluate(async (number) => {
      const box: AquatintPrompt | null = document.querySelector('aquatint-prompt')
      if (box === null) throw new Error('The page has no prompt box')
      box.settings = { ...box.settings, prompt: 'a red apple on a white background', seed: number }
      const { images } = await box.generate()
      const [image] = images
      if (image === undefined) throw new Error('No image')
      return { width: image.width, height: image.height, data: [...image.data] }
    }, seed)
  const picture = await draw(1)
  expect([picture.width, picture.height]).toEqual([128, 128])
  const judge = new Judge(evaluation)
  expect(evaluation.subjects[judge.nearest(picture)]).toBe('red apple')
  expect(judge.background(picture)).toBe('white')
  let drawn = 0
  let red = 0
  for (let i = 0; i < picture.data.length; i += 4) {
    const [r = 0, g = 0, b = 0] = picture.data.slice(i, i + 3)
    if (Math.min(r, g, b) > 200) continue
    drawn++
    if (r > g + 40 && r > b + 40) red++
  }
  expect(red / drawn).toBeGreaterThan(0.5)
  expect((await draw(2)).data).not.toEqual(picture.data)
})
