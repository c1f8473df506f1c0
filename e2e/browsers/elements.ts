/** Finds and uses elements as a user does, in a page and in the shadow root of its prompt box, with any driver. */

import { expect } from '@playwright/test'
import type { Tab } from './drivers/types.js'

/** Milliseconds between two checks of a condition. Pages change quickly, and a check costs little. */
export const polling = { intervals: [100] }

/** An element that is displayed. */
interface Seen {
  /** The element's centre in the window, after it was scrolled into view. */
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
  readonly text: string
  readonly value: string
  readonly disabled: boolean
}

/** Scrolls to the first displayed element that matches the selector (and whose text is `text`), and describes it; null if there is none. */
export function find(tab: Tab, selector: string, text?: string): Promise<Seen | null> {
  return tab.evaluate(
    ([wanted, words]) => {
      const roots = [document, document.querySelector('aquatint-prompt')?.shadowRoot]
      const all = roots.flatMap((root) => Array.from(root?.querySelectorAll<HTMLElement>(wanted) ?? []))
      const element = all.find((each) => each.checkVisibility() && (words === null || (each.textContent ?? '').trim() === words))
      if (element === undefined) return null
      element.scrollIntoView({ block: 'nearest', behavior: 'instant' })
      const { left, top, width, height } = element.getBoundingClientRect()
      return {
        x: left + width / 2,
        y: top + height / 2,
        width,
        height,
        text: (element.textContent ?? '').trim(),
        value: 'value' in element ? String(element.value) : '',
        disabled: element.matches(':disabled'),
      }
    },
    [selector, text ?? null] as const,
  )
}

/** Waits until the element is displayed. */
export async function see(tab: Tab, selector: string, text?: string): Promise<Seen> {
  let seen: Seen | null = null
  await expect
    .poll(async () => (seen = await find(tab, selector, text)), { ...polling, message: `${selector} ${text ?? ''}` })
    .not.toBeNull()
  if (seen === null) throw new Error(`There is no ${selector}`)
  return seen
}

/** Waits until no such element is displayed. */
export async function seeNone(tab: Tab, selector: string, text?: string): Promise<void> {
  await expect.poll(() => find(tab, selector, text), { ...polling, message: `${selector} ${text ?? ''}` }).toBeNull()
}

/** Clicks the element when it is displayed and enabled. A click that meets something else, because the page moved meanwhile, is repeated. */
export async function click(tab: Tab, selector: string, text?: string): Promise<void> {
  const message = `${selector} ${text ?? ''}`
  await expect
    .poll(
      async () => {
        const seen = await find(tab, selector, text)
        if (seen === null || seen.disabled) return false
        const { x, y } = seen
        await tab.evaluate(awaitClick, [selector, text ?? null] as const)
        await tab.click(x, y)
        return tab.evaluate(() => Reflect.get(globalThis, 'clicked') as boolean, null)
      },
      { ...polling, message },
    )
    .toBe(true)
}

/** Runs in the page: sets `clicked` to false, and to true at the next click on the element. */
function awaitClick([selector, text]: readonly [string, string | null]): void {
  const roots = [document, document.querySelector('aquatint-prompt')?.shadowRoot]
  const all = roots.flatMap((root) => Array.from(root?.querySelectorAll<HTMLElement>(selector) ?? []))
  const element = all.find((each) => each.checkVisibility() && (text === null || (each.textContent ?? '').trim() === text))
  Reflect.set(globalThis, 'clicked', false)
  element?.addEventListener('click', () => Reflect.set(globalThis, 'clicked', true), { once: true, capture: true })
}

/** Replaces the text of a field by typing another one. */
export async function fill(tab: Tab, selector: string, text: string): Promise<void> {
  await click(tab, selector)
  await tab.evaluate((wanted) => {
    const roots = [document, document.querySelector('aquatint-prompt')?.shadowRoot]
    for (const root of roots) root?.querySelector<HTMLInputElement | HTMLTextAreaElement>(wanted)?.select()
  }, selector)
  await tab.type(text)
  expect((await see(tab, selector)).value).toBe(text)
}

/** The events that a prompt box fired. */
export interface Outcome {
  readonly types: readonly string[]
  readonly pixels?: { readonly width: number; readonly height: number; readonly data: readonly number[] }
  readonly code?: string
  readonly message?: string
}

/** Starts to record the events of the prompt box, which {@link outcome} returns. */
export async function listen(tab: Tab): Promise<void> {
  await tab.waitForFunction(() => customElements.get('aquatint-prompt') !== undefined, null)
  await tab.evaluate(() => {
    const box = document.querySelector('aquatint-prompt')
    if (box === null) throw new Error('The page has no prompt box')
    const seen: Record<string, unknown> & { types: string[] } = { types: [] }
    Object.assign(globalThis, { seen })
    for (const type of ['load', 'progress', 'step', 'image', 'error', 'statechange'] as const)
      box.addEventListener(type, () => seen.types.push(type))
    box.addEventListener('image', ({ detail }) => {
      const [image] = detail.images
      seen['pixels'] = image && { width: image.width, height: image.height, data: [...image.data] }
    })
    box.addEventListener('error', (event) => {
      const { code, message } = (event as CustomEvent<{ code?: string; message?: string }>).detail
      Object.assign(seen, { code, message })
    })
  }, null)
}

/** Resolves when {@link listen} has seen an event of a type. */
export function happens(tab: Tab, type: string): Promise<void> {
  return tab.waitForFunction((wanted) => (Reflect.get(globalThis, 'seen') as { types: string[] }).types.includes(wanted), type)
}

/** The events that {@link listen} recorded. */
export function outcome(tab: Tab): Promise<Outcome> {
  return tab.evaluate(() => Reflect.get(globalThis, 'seen') as Outcome, null)
}

/** Types a prompt, presses Generate, and waits for the picture or an error. */
export async function generate(tab: Tab, prompt: string): Promise<Outcome> {
  await fill(tab, 'textarea#prompt', prompt)
  await listen(tab)
  await click(tab, '[part=run]')
  await tab.waitForFunction(() => {
    const { types } = Reflect.get(globalThis, 'seen') as { types: string[] }
    return types.includes('image') || types.includes('error')
  }, null)
  return outcome(tab)
}
