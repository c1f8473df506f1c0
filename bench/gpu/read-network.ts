/** Reads a network from a folder with a config.json and weights. It runs in Node and in a browser. */

import { transformTable } from '../../src/checkpoint/transforms/transform-table.js'
import type { Config, WeightTable } from '../../src/checkpoint/types.js'
import { chooseWeightFiles } from '../../src/checkpoint/weight-files.js'
import { readWeightTable } from '../../src/checkpoint/weight-table.js'
import type { Repository } from '../../src/hub/types.js'
import { networkDefinition } from '../../src/models/registry.js'
import type { Network } from '../../src/pipelines/bind-network.js'
import { quantizingTransforms } from '../../src/pipelines/loading/dtypes.js'
import type { QuantizationName } from '../../src/pipelines/types.js'

/** The data from which a network's class builds it. */
export interface Found {
  readonly className: string
  readonly config: Config
  readonly table: WeightTable
  /** Where the network is from, for messages. */
  readonly repo: string
}

/** Reads the network of a component's folder, whose config names its class. The repository's files stay open. */
export async function readNetwork(repository: Repository, quantization?: QuantizationName): Promise<Network> {
  const file = await repository.open('config.json')
  const text = new TextDecoder().decode(await file.read({ begin: 0, end: file.byteLength }))
  const config = JSON.parse(text) as Config
  const className = String(config['_class_name'])
  const all = (await repository.files()).map(({ path }) => path)
  // judge.py and dequantize.ts write these files beside the weights.
  const paths = all.filter((path) => !/^(reference|dequantized)/.test(path))
  const { library } = networkDefinition(className)
  const files = chooseWeightFiles(paths, { folder: '', library, variant: null, missingVariant: 'strict' })
  const table = await readWeightTable(repository, files)
  return networkOf({ className, config, table, repo: repository.id }, quantization)
}

/** The network of a class. With `quantization`, its weights are quantized when they are read. */
export function networkOf({ className, config, table, repo }: Found, quantization?: QuantizationName): Network {
  const model = networkDefinition(className).fromConfig(config)
  const stored = quantization === undefined ? table : transformTable(table, quantizingTransforms(quantization, model.sensitive))
  return { name: model.role, model, table: stored, repo, quantization }
}
