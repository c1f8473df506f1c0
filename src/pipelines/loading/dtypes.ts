/** The words of `dtype`: what each network computes in, and which ones are quantised. Pure. */

import { cast, type OnOverflow } from '../../checkpoint/transforms/cast.js'
import { quantize } from '../../checkpoint/transforms/quantize.js'
import type { WeightTransform } from '../../checkpoint/transforms/transform-table.js'
import { InputError } from '../../errors.js'
import type { NetworkDefinition } from '../../models/types.js'
import type { DTypeName, LoadPipelineOptions, QuantizationName, WeightsDType } from '../types.js'

const words: readonly WeightsDType[] = ['float32', 'float16', 'q8', 'q4']

/** What `dtype` says of one network. */
export interface NetworkDType {
  /** The type it computes in; undefined leaves it to the pipeline. */
  readonly compute: DTypeName | undefined
  readonly quantization: QuantizationName | undefined
}

/** @throws InputError `dtype` for a word that is none */
export function checkDType(dtype: LoadPipelineOptions['dtype']): void {
  const named = typeof dtype === 'object' && dtype !== null ? Object.entries(dtype) : [['', dtype] as const]
  for (const [component, word] of named) {
    if (word === undefined || words.includes(word)) continue
    throw new InputError(
      'dtype',
      `dtype${component === '' ? '' : `.${component}`} is ${JSON.stringify(word)}; allowed are ${words.join(', ')}, or an object of them by component.`,
      { dtype: JSON.stringify(word).slice(0, 200), component, allowed: words },
    )
  }
}

/** What `dtype` says of each network. @throws InputError `dtype` for components that are no networks of the pipeline */
export function dtypesOf(
  dtype: LoadPipelineOptions['dtype'],
  networks: readonly { readonly name: string; readonly model: Pick<NetworkDefinition, 'quantizable'> }[],
): ReadonlyMap<string, NetworkDType> {
  if (typeof dtype === 'object') {
    const names = networks.map(({ name }) => name)
    for (const component of Object.keys(dtype)) {
      if (!names.includes(component))
        throw new InputError(
          'dtype',
          `dtype names ${JSON.stringify(component.slice(0, 100))}; the networks of this pipeline are ${names.join(', ')}.`,
          {
            component: component.slice(0, 100),
            allowed: names,
          },
        )
    }
  }
  return new Map(
    networks.map(({ name, model }) => {
      const word = typeof dtype === 'object' ? (Object.hasOwn(dtype, name) ? dtype[name] : undefined) : dtype
      const isQuantized = word === 'q8' || word === 'q4'
      return [
        name,
        {
          compute: isQuantized ? 'float16' : word,
          quantization: isQuantized && model.quantizable ? word : undefined,
        },
      ]
    }),
  )
}

/**
 * The transforms behind `q8` and `q4`: the Linear weights become blocks of 32 codes of 8 or 4 bits, everything else float16. `onOverflow`
 * hears of values that float16 cannot hold.
 */
export function quantizingTransforms(value: QuantizationName, onOverflow?: OnOverflow): readonly WeightTransform[] {
  return [quantize({ bits: value === 'q8' ? 8 : 4, blockSize: 32 }), cast('F16', onOverflow)]
}
