/** Where Playwright serves the built site. Two checkouts can run their specs at once if `AQUATINT_SITE_PORT` differs. */

/** The port. */
export const sitePort = Number(process.env['AQUATINT_SITE_PORT'] ?? 4173)

/** The origin of the built site. */
export const site = `http://127.0.0.1:${sitePort}`
