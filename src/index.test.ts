/** The public API, pinned: a name that appears or goes is a decision, not an accident. */
import { expect, test } from 'vitest'
import * as api from './index.js'

test('the public API is exactly these names', () => {
  expect(Object.keys(api).sort()).toEqual([
    'AquatintError',
    'CheckpointError',
    'DeviceError',
    'DiffusionPipeline',
    'Engine',
    'GeneratedImage',
    'HubError',
    'InputError',
    'ModelCache',
    'StorageError',
    'UnsupportedError',
    'componentLabel',
    'isAquatintError',
    'readPngText',
  ])
})
