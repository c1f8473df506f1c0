import { expect, test } from 'vitest'
import { Residency } from './residency.js'
import type { Component } from './types.js'

/** A component that only remembers whether it is loaded. What real ones do with it is in component.browser.test.ts. */
function stub(name: string, log: string[]): Component {
  let isLoaded = false
  return {
    name,
    get isLoaded() {
      return isLoaded
    },
    load: async () => {
      isLoaded = true
      log.push(`load ${name}`)
    },
    run: async () => ({}),
    setWeightBudget: async () => {},
    moveTo: async () => {},
    unload: async () => {
      isLoaded = false
      log.push(`unload ${name}`)
    },
    dispose: async () => {},
  }
}

test('with model offload a component comes only when the one before has gone', async () => {
  const log: string[] = []
  const [text, unet] = [stub('text', log), stub('unet', log)]
  const residency = new Residency('model', [text, unet])
  await residency.use(text)
  await residency.use(text)
  await residency.use(unet)
  await residency.release()
  expect(log).toEqual(['load text', 'load text', 'unload text', 'load unet', 'unload unet'])
})

test('resident components stay', async () => {
  const log: string[] = []
  const [text, unet] = [stub('text', log), stub('unet', log)]
  const residency = new Residency('resident', [text, unet])
  await residency.use(text)
  await residency.use(unet)
  expect(log).toEqual(['load text', 'load unet'])
  await residency.release()
  expect(text.isLoaded || unet.isLoaded).toBe(false)
})

test('an aborted signal changes nothing', async () => {
  const log: string[] = []
  const text = stub('text', log)
  await expect(new Residency('model', [text]).use(text, { signal: AbortSignal.abort() })).rejects.toMatchObject({
    name: 'AbortError',
  })
  expect(log).toEqual([])
})
