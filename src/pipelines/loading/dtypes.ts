/** The option `dtype`: the type that each network computes in, and whether its weights are quantized. Pure. */

import { castWeights, type OnOverflow } from '../../checkpoint/transforms/cast.js'
import { quantize } from '../../checkpoint/transforms/quantize.js'
import type { WeightTransform } from '../../checkpoint/transforms/transform-table.js'
import { InputError } from '../../errors.js'
import type { SensitiveWeights } from '../../checkpoint/types.js'
import type { NetworkDefinition } from '../../models/types.js'
import type { DTypeName, LoadPipelineOptions, QuantizationName, WeightsDType } from '../types.js'

const values: readonly WeightsDType[] = ['float32', 'float16', 'q8', 'q4']

/** What `dtype` means for one network. */
export interface NetworkDType {
  /** The type that the network computes in. Undefined: the pipeline chooses. */
  readonly compute: DTypeName | undefined
  readonly quantization: QuantizationName | undefined
}

/** Checks the option's values. @throws InputError `dtype` for a value that does not exist */
export function checkDType(dtype: LoadPipelineOptions['dtype']): void {
  const named = typeof dtype === 'object' && dtype !== null ? Object.entries(dtype) : [['', dtype] as const]
  for (const [component, value] of named) {
    if (value === undefined || values.includes(value)) continue
    throw new InputError(
      'dtype',
      `dtype${component === '' ? '' : `.${component}`} is ${JSON.stringify(value)}; allowed are ${values.join(', ')}, or an object of them by component.`,
      { dtype: JSON.stringify(value).slice(0, 200), component, allowed: values },
    )
  }
}

/** What `dtype` means for each network. @throws InputError `dtype` for components that are not networks of the pipeline */
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
      const value = typeof dtype === 'object' ? (Object.hasOwn(dtype, name) ? dtype[name] : undefined) : dtype
      const isQuantized = value === 'q8' || value === 'q4'
      return [
        name,
        {
          compute: isQuantized ? 'float16' : value,
          quantization: isQuantized && model.quantizable ? value : undefined,
        },
      ]
    }),
  )
}

/**
 * The transforms behind `q8` and `q4`: the Linear weights become blocks of 32 codes of 8 or 4 bits, all other weights become float16.
 * `sensitive`: the class's weights that are not quantized, or that have 8 bits even in `q4`. `onOverflow` is called for values that
 * float16 cannot represent.
 */
export function quantizingTransforms(
  value: QuantizationName,
  sensitive: SensitiveWeights | undefined,
  onOverflow?: OnOverflow,
): readonly WeightTransform[] {
  return [quantize({ bits: value === 'q8' ? 8 : 4, blockSize: 32, sensitive }), castWeights('F16', onOverflow)]
}
