import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { createScheduler, schedulerClassNames } from './registry.js'
import { betaQuantile } from './sigma-schedules.js'

const stableDiffusion = {
  _class_name: 'PNDMScheduler',
  _diffusers_version: '0.6.0',
  beta_end: 0.012,
  beta_schedule: 'scaled_linear',
  beta_start: 0.00085,
  num_train_timesteps: 1000,
  set_alpha_to_one: false,
  skip_prk_steps: true,
  steps_offset: 1,
  trained_betas: null,
  clip_sample: false,
}

function codeOf(action: () => unknown): string {
  try {
    action()
    return 'accepted'
  } catch (error) {
    return (error as { code: string }).code
  }
}

test('a class uses its own keys of another class’s config, and its own defaults', () => {
  const { scheduler, unexpectedKeys } = createScheduler('EulerDiscreteScheduler', stableDiffusion)
  expect(unexpectedKeys).toEqual([])
  expect(scheduler.config).toMatchObject({ beta_schedule: 'scaled_linear', steps_offset: 1, timestep_spacing: 'linspace' })
  expect(scheduler.config).not.toHaveProperty('skip_prk_steps')
  expect(createScheduler('DDIMScheduler', { ...stableDiffusion, made_up: 1 }).unexpectedKeys).toEqual(['made_up'])
})

test('values that would change something in another class are listed, but not the keys that all configs contain', () => {
  const karras = { ...stableDiffusion, use_karras_sigmas: true, algorithm_type: 'dpmsolver++', rescale_betas_zero_snr: null }
  expect(createScheduler('DDIMScheduler', karras).otherClassKeys).toEqual(['use_karras_sigmas'])
  expect(createScheduler('EulerDiscreteScheduler', karras).otherClassKeys).toEqual([])
  expect(createScheduler('PNDMScheduler', { ...stableDiffusion, algorithm_type: 'sde-dpmsolver++' }).otherClassKeys).toEqual([
    'algorithm_type',
  ])
})

test.each([
  ['an unknown class', () => createScheduler('KarrasVeScheduler', {}), 'unsupported-class'],
  ['a class with the name of an object property', () => createScheduler('constructor', {}), 'unsupported-class'],
  ['an unknown value', () => createScheduler('DDIMScheduler', { beta_schedule: 'sigmoid' }), 'unsupported-config'],
  ['an unknown prediction', () => createScheduler('PNDMScheduler', { prediction_type: 'sample' }), 'unsupported-config'],
  ['thresholding', () => createScheduler('DDIMScheduler', { thresholding: true }), 'unsupported-config'],
  ['a number given as a string', () => createScheduler('DDIMScheduler', { beta_start: '0.1' }), 'invalid-config'],
  ['NaN in place of a number', () => createScheduler('DDIMScheduler', { beta_start: Number.NaN }), 'invalid-config'],
  ['too many timesteps', () => createScheduler('DDIMScheduler', { num_train_timesteps: 1e9 }), 'invalid-config'],
  ['betas of another length', () => createScheduler('DDIMScheduler', { trained_betas: [0.1, 0.2] }), 'invalid-config'],
  [
    'two spreads of sigmas',
    () => createScheduler('EulerDiscreteScheduler', { use_karras_sigmas: true, use_beta_sigmas: true }),
    'invalid-config',
  ],
  ['no steps', () => createScheduler('DDIMScheduler', {}).scheduler.setTimesteps(0), 'num-inference-steps'],
  ['half a step', () => createScheduler('EulerDiscreteScheduler', {}).scheduler.setTimesteps(1.5), 'num-inference-steps'],
  [
    'more steps than training had',
    () => createScheduler('DDIMScheduler', {}).scheduler.setTimesteps(1001),
    'num-inference-steps',
  ],
  ['one step of IPNDM', () => createScheduler('IPNDMScheduler', {}).scheduler.setTimesteps(1), 'num-inference-steps'],
  ['too few steps for Runge–Kutta', () => createScheduler('PNDMScheduler', {}).scheduler.setTimesteps(3), 'num-inference-steps'],
  [
    'sigmas for DDIM',
    () => createScheduler('DDIMScheduler', {}).scheduler.setTimesteps(null, { sigmas: [1, 0] }),
    'set-timesteps',
  ],
  [
    'a list and a number',
    () => createScheduler('EulerDiscreteScheduler', {}).scheduler.setTimesteps(2, { sigmas: [1, 0] }),
    'set-timesteps',
  ],
  ['null for a flag', () => createScheduler('EulerDiscreteScheduler', { use_karras_sigmas: null }), 'accepted'],
  [
    '-Infinity as diffusers writes it',
    () => createScheduler('DPMSolverMultistepScheduler', { lambda_min_clipped: -Infinity }),
    'accepted',
  ],
])('%s is accepted, or refused with its code', (_, action, code) => {
  expect(codeOf(action)).toBe(code)
})

test('a refused scheduler is refused with the reason and what to use instead', () => {
  expect(() => createScheduler('DPMSolverSDEScheduler', {})).toThrow(
    expect.objectContaining({ code: 'unsupported-class', message: expect.stringContaining('sde-dpmsolver++') }),
  )
})

test.each(schedulerClassNames)('%s: setBeginIndex(0) changes no step', (className) => {
  const { scheduler } = createScheduler(className, {})
  scheduler.setTimesteps(4)
  const plans = scheduler.timesteps.map((_, index) => scheduler.plan(index))
  scheduler.setBeginIndex(0)
  expect(scheduler.timesteps.map((_, index) => scheduler.plan(index))).toEqual(plans)
})

// These values follow from symmetry. The fixtures with use_beta_sigmas test other values.
test.each([
  [0, 0],
  [1, 1],
  [0.5, 0.5],
])('betaQuantile(%f) = %f', (p, x) => {
  expect(betaQuantile(p, 0.6, 0.6)).toBeCloseTo(x, 14)
})

test('DPMSolverMultistepScheduler takes the config of a DDPMScheduler, whose variance it does not read', () => {
  const config = { ...stableDiffusion, _class_name: 'DDPMScheduler', variance_type: 'fixed_small', clip_sample_range: 1 }
  const { scheduler } = createScheduler('DPMSolverMultistepScheduler', config)
  scheduler.setTimesteps(5)
  expect(scheduler.timesteps).toHaveLength(5)
  for (const variance_type of ['learned', 'learned_range'])
    expect(codeOf(() => createScheduler('DPMSolverMultistepScheduler', { variance_type }))).toBe('unsupported-config')
})

const { first, equal } = JSON.parse(readFileSync(new URL('../../fixtures/first-timesteps.json', import.meta.url), 'utf8')) as {
  readonly first: readonly (readonly [config: Readonly<Record<string, unknown>>, timestep: number])[]
  readonly equal: readonly (readonly [className: string, config: Readonly<Record<string, unknown>>, steps: number])[]
}

test('the first timestep of a solver with exponential or beta sigmas is that of diffusers', () => {
  const found = first.map(([config]) => {
    const { scheduler } = createScheduler('DPMSolverMultistepScheduler', config)
    scheduler.setTimesteps(3)
    return [config, scheduler.timesteps[0]]
  })
  expect(found).toEqual(first)
})

test.each(equal)(
  '%s with two equal first timesteps is refused where diffusers fails, and runs from an image: %o',
  (name, config, steps) => {
    const { scheduler } = createScheduler(name, config)
    scheduler.setTimesteps(steps)
    expect(() => scheduler.plan(0)).toThrow(
      expect.objectContaining({ code: 'set-timesteps', message: expect.stringContaining('first two timesteps') as string }),
    )
    scheduler.setBeginIndex(0)
    for (const index of scheduler.timesteps.keys()) scheduler.plan(index)
  },
)

test('UniPC’s last step to a sigma of 0 gives the predicted image with bh1 too, where diffusers has infinity times 0', () => {
  const [bh1, bh2] = ['bh1', 'bh2'].map((type) => {
    const { scheduler } = createScheduler('UniPCMultistepScheduler', { solver_type: type })
    scheduler.setTimesteps(1)
    return scheduler.plan(0).sums.at(-1)
  })
  expect(bh1).toEqual(bh2)
})
