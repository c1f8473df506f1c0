/** Tests the list of network classes, and that a definition which lacks a member of its role does not compile. */

import { expect, expectTypeOf, test } from 'vitest'
import { readKeyCases } from './config-keys.node.js'
import { networkDefinition, networkDefinitions } from './registry.js'
import type { AutoencoderModel, DenoiserModel, TextEncoderModel } from './types.js'

test('each class is listed once, and found by its name', () => {
  const names = networkDefinitions.map(({ className }) => className)
  expect(new Set(names).size).toBe(names.length)
  for (const definition of networkDefinitions) expect(networkDefinition(definition.className)).toBe(definition)
})

test('a fixture says for each class what every key of its config changes in diffusers or transformers', () => {
  const judged = new Set(readKeyCases().map((item) => item.class))
  // config.test.ts tests the few keys of AutoencoderTiny.
  expect(networkDefinitions.flatMap(({ className }) => (judged.has(className) ? [] : [className]))).toEqual(['AutoencoderTiny'])
})

test('a class that is not listed is refused with those that are', () => {
  for (const className of ['UNet1DModel', 'constructor', ''])
    expect(() => networkDefinition(className)).toThrow(
      expect.objectContaining({
        code: 'unsupported-class',
        details: { className, supported: networkDefinitions.map((definition) => definition.className) },
      }),
    )
})

test('autoencoders of diffusers that Aquatint refuses are refused with what to use instead', () => {
  for (const className of ['AsymmetricAutoencoderKL', 'ConsistencyDecoderVAE'])
    expect(() => networkDefinition(className)).toThrow(
      expect.objectContaining({ code: 'unsupported-class', message: expect.stringContaining('AutoencoderTiny as vae instead') }),
    )
})

test("diffusers' default config gives a model of the class, whose plain graph has an output", () => {
  for (const definition of networkDefinitions) {
    const model = definition.fromConfig({})
    expect(model).toMatchObject({ className: definition.className, role: definition.role, library: definition.library })
    const graph = model.write(model.shapes(model.smallest), { dtype: 'float32', weights: 'input', granularity: 'block' })
    expect(graph.outputs.length).toBeGreaterThan(0)
    for (const [name, dims] of Object.entries(model.shapes(model.smallest)))
      expect(graph.inputs.find((input) => input.name === name)?.dims, name).toEqual(dims)
  }
})

test('blocks pass on float32 in float16 graphs of the classes whose definition says so, and of no others', () => {
  for (const definition of networkDefinitions) {
    const model = definition.fromConfig({})
    const graph = model.write(model.shapes(model.smallest), { dtype: 'float16', weights: 'input', granularity: 'block' })
    const blocks = graph.stages.filter(({ name }) => /(block|layer)s?\.\d+$/.test(name))
    const types = blocks.flatMap(({ program }) => program.outputs.map(({ type }) => type))
    const areFloat32 = types.length > 0 && types.every((type) => type === 'float32')
    expect(areFloat32, definition.className).toBe(definition.residual === 'float32')
  }
})

test('a model that lacks a member of its role is a type error', () => {
  expectTypeOf<Omit<DenoiserModel, 'stepInputs'>>().not.toExtend<DenoiserModel>()
  expectTypeOf<Omit<DenoiserModel, 'latents'>>().not.toExtend<DenoiserModel>()
  expectTypeOf<Omit<DenoiserModel, 'skippableLayers'>>().not.toExtend<DenoiserModel>()
  expectTypeOf<Omit<TextEncoderModel, 'tokenEmbedding'>>().not.toExtend<TextEncoderModel>()
  expectTypeOf<Omit<TextEncoderModel, 'hostInputs'>>().not.toExtend<TextEncoderModel>()
  expectTypeOf<Omit<AutoencoderModel, 'scaling'>>().not.toExtend<AutoencoderModel>()
  expectTypeOf<Omit<AutoencoderModel, 'upcast'>>().not.toExtend<AutoencoderModel>()
})
