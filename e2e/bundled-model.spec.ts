/**
 * The bundled model draws in the browser what it draws in diffusers: for the same prompts and seeds, the same judge names the same
 * subjects and backgrounds. By default this runs only one prompt of the evaluation. This is enough, because Node tests compare the tensors of
 * this model's pictures. `npm run evaluate` runs all 255 prompts. The test prints how many
 * subjects and backgrounds are right.
 */
import { readFileSync } from 'node:fs'
import { expect, test, type Page } from '@playwright/test'
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
const prompts = evaluation.prompts.slice(0, all ? undefined : 1)
const judge = new Judge(evaluation)

async function draw(page: Page, settings: Partial<AquatintPrompt['settings']>) {
  return page.evaluate(async (given) => {
    const box: AquatintPrompt | null = document.querySelector('aquatint-prompt')
    if (box === null) throw new Error('The page has no prompt box')
    box.settings = { ...box.settings, ...given }
    const { images } = await box.generate()
    const [image] = images
    if (image === undefined) throw new Error('No image')
    return { width: image.width, height: image.height, data: [...image.data] }
  }, settings)
}

test('the judge names the same subjects in the browser’s pictures as in diffusers’; a red apple is mostly red; another seed gives another picture', async ({
  page,
}) => {
  test.setTimeout(600_000 + prompts.length * 30_000)
  await page.goto('/?device=wasm')

  // This picture is generated with the page's default number of steps.
  const apple = { prompt: 'a red apple on a white background', seed: 1 }
  const picture = await draw(page, apple)
  expect([picture.width, picture.height]).toEqual([128, 128])
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
  const short = { ...apple, numInferenceSteps: 1 }
  expect((await draw(page, { ...short, seed: 2 })).data).not.toEqual((await draw(page, short)).data)

  let subjects = 0
  let backgrounds = 0
  const { steps: numInferenceSteps, guidance_scale: guidanceScale } = measured
  for (const { prompt, seed, subject, colour } of prompts) {
    const made = await draw(page, { prompt, seed, numInferenceSteps, guidanceScale })
    const inDiffusers = measured.wrong.find((wrong) => wrong.prompt === prompt && wrong.seed === seed)
    const nearest = evaluation.subjects[judge.nearest(made)]
    const background = judge.background(made)
    expect.soft(nearest, prompt).toBe(inDiffusers?.nearest ?? evaluation.subjects[subject])
    expect.soft(background, prompt).toBe(inDiffusers?.background ?? colour)
    if (nearest === evaluation.subjects[subject]) subjects++
    if (background === colour) backgrounds++
  }
  const share = (count: number) => `${((100 * count) / prompts.length).toFixed(1)} %`
  console.log(`bundled model, ${prompts.length} prompts: top 1 ${share(subjects)}, background ${share(backgrounds)}`)
})
