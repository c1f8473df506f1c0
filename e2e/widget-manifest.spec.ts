/** custom-elements.json lists exactly what the element on the built site has (docs/embedding.md). */

import { readFileSync } from 'node:fs'
import { expect, model, size, test } from './ui/page-harness.js'

interface Named {
  readonly name: string
  readonly description?: string
  readonly kind?: 'field' | 'method'
  readonly readonly?: boolean
}
interface Declaration extends Record<
  'attributes' | 'members' | 'events' | 'slots' | 'cssParts' | 'cssProperties',
  readonly Named[]
> {
  readonly tagName: string
}

const manifest = JSON.parse(readFileSync('custom-elements.json', 'utf8')) as {
  readonly modules: readonly { readonly declarations: readonly Declaration[] }[]
}
const declaration = manifest.modules[0]?.declarations[0] as Declaration
const names = (kind: 'attributes' | 'members' | 'events' | 'slots' | 'cssParts' | 'cssProperties') =>
  declaration[kind].map(({ name }) => name).sort()

const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1)

test('every entry of the manifest is described, once', () => {
  expect(declaration.tagName).toBe('aquatint-prompt')
  for (const kind of ['attributes', 'members', 'events', 'slots', 'cssParts', 'cssProperties'] as const) {
    expect(names(kind)).toEqual([...new Set(names(kind))])
    expect(declaration[kind].filter(({ description = '' }) => description === '')).toEqual([])
  }
})

test('the manifest lists what the element has', async ({ page, server }) => {
  const query = { model, endpoint: server.url, device: 'wasm', steps: '2', width: String(size), height: String(size) }
  await page.goto(`/embed.html?${new URLSearchParams(query).toString()}`)
  const found = await page.evaluate(async () => {
    const box = document.querySelector('aquatint-prompt')
    if (box === null) throw new Error('no box')
    /** The events that the box fires from here on. */
    const events = new Set<string>()
    const dispatch = box.dispatchEvent.bind(box)
    box.dispatchEvent = (event) => {
      events.add(event.type)
      return dispatch(event)
    }
    const inside = (selector: string) => [...(box.shadowRoot?.querySelectorAll(selector) ?? [])]
    const parts = new Set<string>()
    const collect = () => inside('[part]').forEach((each) => each.part.forEach((part) => parts.add(part)))
    box.addEventListener('step', collect)
    box.prompt = 'a boat'
    await box.generate()
    collect()
    // Another model and an error cause the events that have not been fired yet.
    box.model = './nothing-here/'
    await box.load().catch(() => {})
    const Class = box.constructor as typeof HTMLElement & { readonly observedAttributes: readonly string[] }
    const css = (box.shadowRoot?.adoptedStyleSheets ?? []).flatMap((sheet) => [...sheet.cssRules].map((rule) => rule.cssText))
    return {
      observed: [...Class.observedAttributes],
      events: [...events],
      parts: [...parts],
      slots: inside('slot').map((slot) => slot.getAttribute('name') ?? ''),
      properties: [...new Set(css.join().match(/--aquatint-[\w-]+/g))],
      privates: css.join().match(/--_[\w-]+(?=:)/g) ?? [],
      usedPrivates: css.join().match(/(?<=var\()--_[\w-]+/g) ?? [],
      // The element's class and its base class, the form control.
      members: [Class.prototype, Object.getPrototypeOf(Class.prototype) as object]
        .flatMap((prototype) => Object.entries(Object.getOwnPropertyDescriptors(prototype)))
        .filter(([name]) => !/^constructor$|Callback$|^addEventListener$/.test(name))
        .map(([name, property]) => {
          const field = property.get !== undefined
          return { name, kind: field ? 'field' : 'method', readonly: field && property.set === undefined }
        }),
    }
  })
  // `name`, `required` and `disabled` belong to every form control; the box sets `busy` itself.
  expect(names('attributes')).toEqual([...found.observed, 'name', 'required', 'disabled', 'busy'].sort())
  expect(names('events')).toEqual(found.events.sort())
  expect(names('cssParts')).toEqual([...new Set(found.parts)].sort())
  expect(names('slots')).toEqual(found.slots.sort())
  expect(names('cssProperties')).toEqual(found.properties.sort())
  const used = new Set<string>(found.usedPrivates)
  // A private custom property (`--_…`) that no CSS rule reads would have no effect.
  expect(found.privates.filter((name) => !used.has(name))).toEqual([])
  const members = declaration.members.map(({ name, kind, readonly = false }) => ({ name, kind, readonly }))
  expect(members.sort(byName)).toEqual(found.members.sort(byName))
})

test('slotted content is shown, and each attribute sets its setting', async ({ page }) => {
  const slots = names('slots').map((name) => `<b slot="${name}">${name} slotted</b>`)
  await page.goto('/embed.html')
  await page.evaluate(
    (html) => {
      document.body.innerHTML = html
    },
    `<aquatint-prompt model="a/b" prompt="p" negative-prompt="n" width="64" height="72" steps="3" guidance="4.5" true-cfg="2" seed="5" count="2" scheduler="DDIMScheduler" timestep-spacing="trailing" sigma-schedule="karras" algorithm="sde-dpmsolver++" prediction="v-zero-snr" eta="0.5" clip-skip="1" prompt-weighting="compel" revision="r" variant="v" endpoint="https://e.example" dtype="q8" preview-decoder="owner/tiny" device="wasm" offload="block" max-memory="2GB">${slots.join('')}</aquatint-prompt>`,
  )
  const settings = page.locator('aquatint-prompt').getByText('Settings', { exact: true })
  await settings.click()
  for (const name of names('slots')) await expect(page.getByText(`${name} slotted`)).toBeVisible()
  const read = await page.evaluate(() => {
    const box = document.querySelector('aquatint-prompt')
    return { settings: box?.settings, loadOptions: box?.loadOptions }
  })
  expect(read.settings).toEqual({
    model: 'a/b',
    dtype: 'q8',
    previewDecoder: 'owner/tiny',
    prompt: 'p',
    negativePrompt: 'n',
    width: 64,
    height: 72,
    numInferenceSteps: 3,
    guidanceScale: 4.5,
    trueCfgScale: 2,
    seed: 5,
    numImagesPerPrompt: 2,
    scheduler: 'DDIMScheduler',
    timestepSpacing: 'trailing',
    sigmaSchedule: 'karras',
    algorithm: 'sde-dpmsolver++',
    prediction: 'v-zero-snr',
    eta: 0.5,
    clipSkip: 1,
    promptWeighting: 'compel',
  })
  expect(read.loadOptions).toEqual({
    revision: 'r',
    variant: 'v',
    endpoint: 'https://e.example',
    dtype: 'q8',
    components: { preview_decoder: 'owner/tiny' },
    device: 'wasm',
    offload: 'block',
    maxMemory: '2GB',
  })
  await page.locator('aquatint-prompt').evaluate((box) => box.setAttribute('fixed-model', ''))
  await expect(page.getByLabel('Model', { exact: true })).toBeHidden()
})
