// The library advises against its own pages. Here they are what is wanted, so
// their notices are dropped, and no others.

const WANTED = [
  'a quick start development-only feature devInteractions is enabled',
  'default features.rpInitiatedLogout.logoutSource function called',
  'default features.rpInitiatedLogout.postLogoutSuccessSource function called',
  'default renderError function called',
];

export function dropNotices(console) {
  for (const level of ['info', 'warn']) {
    const print = console[level].bind(console);
    console[level] = (...said) => {
      if (!WANTED.some((words) => String(said[0]).includes(words))) print(...said);
    };
  }
}
