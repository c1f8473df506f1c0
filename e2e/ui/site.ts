/** Where Playwright serves the built site. Two checkouts can run their specs at once if `AQUATINT_SITE_PORT` differs by two or more. */

/** The port of the site as `npm start` serves it. */
export const sitePort = Number(process.env['AQUATINT_SITE_PORT'] ?? 4173)

/** The site as `npm start` serves it: its pages are cross-origin isolated, so the CPU kernels use several threads. */
export const site = `http://127.0.0.1:${sitePort}`

/** The port of the site on a plain host. */
export const plainPort = Number(process.env['AQUATINT_PLAIN_PORT'] ?? sitePort + 1)

/**
 * The site on a host that sends no headers for isolation, where the CPU's kernels use one thread. Specs open pages here unless they name `site`: two specs run
 * at once, and threads that wait for work keep the cores busy.
 */
export const plainSite = `http://127.0.0.1:${plainPort}`
