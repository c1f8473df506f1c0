import { expect, test } from 'vitest'
import { DeviceError, InputError } from '../errors.js'
import { RecoveryLadder, type RecoveryStep, type Setup } from './recovery.js'

const lost = new DeviceError('device-lost', 'The GPU device was lost.')
const full = new DeviceError('out-of-memory', 'The GPU ran out of memory.')
const resident: Setup = { residence: 'resident', canStream: true, canShrink: true, canTile: true }
const device = {}

test('a lost device is opened again; a second loss within two minutes fails', () => {
  let now = 1000
  const ladder = new RecoveryLadder(() => now)
  expect(ladder.next(lost, resident, {})).toEqual({ action: 'rebuild' })
  now += 121_000
  expect(ladder.next(lost, resident, {})).toEqual({ action: 'rebuild' })
  now += 30_000
  expect(ladder.next(lost, resident, {})).toMatchObject({
    action: 'fail',
    error: { code: 'device-lost-again', details: { seconds: 30 } },
  })
})

test('a loss that is reported several times counts once', () => {
  let now = 0
  const ladder = new RecoveryLadder(() => now)
  const [first, second, third] = [{}, {}, {}]
  // The pipeline could not open another device, so its next generation reports the same loss, and it tries again to open one.
  expect(ladder.next(lost, resident, first)).toEqual({ action: 'rebuild' })
  now += 100_000
  expect(ladder.next(lost, resident, first)).toEqual({ action: 'rebuild' })
  // The two minutes begin with the first loss, not with the last call.
  now += 30_000
  expect(ladder.next(lost, resident, second)).toEqual({ action: 'rebuild' })
  now += 50_000
  const again = { action: 'fail', error: { code: 'device-lost-again', details: { seconds: 50 } } }
  expect(ladder.next(lost, resident, third)).toMatchObject(again)
  // A call does not restart the two minutes.
  now += 119_000
  expect(ladder.next(lost, resident, third)).toMatchObject(again)
  now += 1000
  expect(ladder.next(lost, resident, third)).toEqual({ action: 'rebuild' })
})

/** Every step that RecoveryLadder chooses for this setup, up to the error. `shrinks`: how many times the network can keep fewer weights. */
function climb(from: Omit<Setup, 'canShrink'>, shrinks: number, error: DeviceError = full): RecoveryStep[] {
  const ladder = new RecoveryLadder()
  const steps: RecoveryStep[] = []
  let [residence, left, canTile] = [from.residence, shrinks, from.canTile]
  while (steps.at(-1)?.action !== 'fail') {
    const step = ladder.next(error, { residence, canStream: from.canStream, canShrink: left > 0, canTile }, device)
    steps.push(step)
    if (step.action === 'tighten') ({ residence } = step)
    else if (step.action === 'shrink') left--
    else if (step.action === 'tile') canTile = false
  }
  return steps
}

test('out of memory tightens the residence step by step, then the error says what the caller can try', () => {
  const failed = { action: 'fail', error: { code: 'out-of-memory', message: expect.stringContaining('try a smaller size') } }
  const steps = [
    { action: 'tighten', residence: 'model' },
    { action: 'tighten', residence: 'block' },
  ]
  const vae = climb(resident, 2)
  expect(vae).toMatchObject([...steps, { action: 'shrink' }, { action: 'shrink' }, { action: 'tile' }, failed])
  expect(climb({ ...resident, canTile: false }, 1)).toMatchObject([...steps, { action: 'shrink' }, failed])
})

test('on the CPU no step streams weights, and after a plan that exceeds its budget no step keeps fewer weights', () => {
  const onCpu = climb({ residence: 'resident', canStream: false, canTile: true }, 0)
  expect(onCpu).toMatchObject([{ residence: 'model' }, { action: 'tile' }, { error: { code: 'out-of-memory' } }])
  const details = { component: 'vae', needed: 2, offered: 1 }
  const over = climb({ ...resident, residence: 'block' }, 3, new DeviceError('does-not-fit', 'vae needs more.', details))
  expect(over).toMatchObject([{ action: 'tile' }, { error: { code: 'does-not-fit' } }])
})

test('other errors are passed on', () => {
  const error = new InputError('shape-mismatch', 'no')
  expect(new RecoveryLadder().next(error, resident, device)).toEqual({ action: 'fail', error })
})
