/** The page in every browser: from a prompt to diffusers' picture, again from the cache, cancelled, with a model that does not exist. */

import { readFileSync } from 'node:fs'
import type { FixtureCase } from '../../src/pipelines/testing-cases.js'
import { psnr } from '../ui/made-picture.js'
import { click, find, generate, happens, listen, outcome, see, seeNone } from './elements.js'
import { expect, model, test } from './harness.js'

const reference = `${model}/reference-1.safetensors`
/** A case without a negative prompt. */
const [, item] = JSON.parse(readFileSync(`${model}/case.json`, 'utf8')) as [FixtureCase, FixtureCase]

/** The page's address with the settings of the fixture. */
function address(site: string, endpoint: string, more: Readonly<Record<string, string>> = {}): string {
  const query = new URLSearchParams({
    model,
    endpoint,
    device: 'wasm',
    steps: String(item.num_inference_steps),
    guidance: String(item.guidance_scale),
    seed: String(item.seed),
    width: String(item.width),
    height: String(item.height),
    prompt: 'a boat',
    ...more,
  })
  return `${site}/?${query.toString()}`
}

test('a prompt becomes the picture of diffusers, and after a reload again, without a request', async ({ tab, site, server }) => {
  await tab.goto(address(site, server.url))
  const first = await generate(tab, item.prompt)
  expect(psnr(first, reference)).toBeGreaterThanOrEqual(50)
  expect(first.types).toEqual(expect.arrayContaining(['progress', 'statechange', 'step', 'image']))
  const print = `button[aria-label=${JSON.stringify(`Open: ${item.prompt}`)}]`
  await see(tab, print)

  server.clearLog()
  await tab.reload()
  // The gallery has the picture of the visit before.
  await see(tab, print)
  const again = await generate(tab, item.prompt)
  expect(again.pixels).toEqual(first.pixels)
  expect(server.log).toEqual([])

  await test.step('a picture of the gallery is opened and deleted', async () => {
    // The gallery shows a picture once it has stored it, and no longer once it has deleted it.
    const shows = (count: number) =>
      expect.poll(() => tab.evaluate((selector) => document.querySelectorAll(selector).length, print)).toBe(count)
    await shows(2)
    await click(tab, print)
    await see(tab, 'dialog dd', model)
    await click(tab, 'dialog button', 'Delete')
    await shows(1)
    await click(tab, print)
    await click(tab, 'dialog button', 'Delete')
    await seeNone(tab, print)
  })
})

test('Cancel ends a run between two steps, and the next run makes its picture', async ({ tab, site, server }) => {
  await tab.goto(address(site, server.url, { steps: '500' }))
  await tab.waitForFunction(() => document.querySelector('aquatint-prompt')?.state === 'ready', null)
  await listen(tab)
  await click(tab, '[part=run]')
  await happens(tab, 'step')
  await click(tab, '[part=cancel]')
  await see(tab, '.headline', 'Cancelled')
  await tab.waitForFunction(() => document.querySelector('aquatint-prompt')?.state === 'ready', null)
  expect((await outcome(tab)).types).not.toContain('image')
  await tab.evaluate((steps) => {
    const box = document.querySelector('aquatint-prompt')
    if (box !== null) box.settings = { ...box.settings, numInferenceSteps: steps }
  }, item.num_inference_steps)
  expect(psnr(await generate(tab, item.prompt), reference)).toBeGreaterThanOrEqual(50)
})

test('a model that does not exist gives an error with its name, and the page still works', async ({ tab, site, server }) => {
  await tab.goto(address(site, server.url, { model: 'nobody/nothing' }))
  await see(tab, '*', 'The model could not be downloaded')
  const failed = await generate(tab, 'a boat')
  expect(failed.code).toBe('repository-not-found')
  expect(failed.message).toContain('nobody/nothing')
  expect((await find(tab, '[part=run]'))?.disabled).toBe(false)
})
