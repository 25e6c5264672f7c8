//! Wrong lines, each with words of its message; and right lines.

/// Lines, of which the wrong one begins with `!`, and words of the message, separated by `|`.
pub(super) type Wrong<'a> = (&'a str, &'a str);

/// Right groups, before all lines.
pub(super) const GROUPS: &str = "<SlotGroup app>\n\
    Slot a http://127.0.0.1:8081 docroot=/srv/no/a\n\
    Slot b http://127.0.0.1:8082 docroot=/srv/no/b\n\
    </SlotGroup>\n\
    <SlotGroup files>\nSlot blue - docroot=/srv/no/blue\n</SlotGroup>\n\
    <SlotGroup bare>\nSlot x http://127.0.0.1:8083\n</SlotGroup>\n";

const NOBODY: &str = "slot://nobody: there is no <SlotGroup nobody>|configured: app, files, bare";
const NO_BACKEND: &str =
    "slot://files: slot \"blue\" has no backend|give it one, or take the path out";
const CHOOSES: &str = "a request would choose the group";
const NO_URL: &str = "URL must be absolute";
/// The words of a newer mod_proxy, or ours.
const NO_GROUP: &str = "URL must be absolute or else it names no group; write it as in slot://app/";
const NO_ROOT: &str = "SlotDocumentRoot takes the name of a group";
const NAME: &str = "letters, digits, '_', '-' and '.' only";
const START: &str = "a name starts with a letter or a digit";
const GLOBAL: &str = "belongs in the main configuration, outside <VirtualHost>";
const ONE_NAME: &str = "<SlotGroup> takes one name, as in <SlotGroup app>";
const OTHER: &str = "use another name";
const DIRECTORY: &str = "takes the path of a directory";

/// The places where a route names a group.
pub(super) const ROUTES: [Wrong<'static>; 63] = [
    (
        "<SlotGroup g>\n!Slot c balancer://nosuch\n</SlotGroup>",
        "there is no such balancer|<Proxy balancer://nosuch>|BalancerMember",
    ),
    ("!ProxyPass / slot://app", "write slot://app/"),
    ("!ProxyPass /y/ slot://app", "would become part of the group's name|write slot://app/"),
    ("!ProxyPass \"/y/\" \"slot://app\" timeout=3", "write slot://app/"),
    ("<Location /y/>\n!ProxyPass slot://app\n</Location>", "write slot://app/"),
    ("!ProxyPassMatch ^/(.*)$ slot://app$1", "write slot://app/$1"),
    ("!ProxyPassMatch ^(/x|y)$ slot://app$1", "write slot://app/$1"),
    ("!ProxyPass ~ ^/(.*)$ slot://app$1", "write slot://app/$1"),
    ("<LocationMatch ^/(.*)$>\n!ProxyPass slot://app$1\n</LocationMatch>", "write slot://app/$1"),
    ("!ProxyPassMatch ^/([^/]+)/(.*)$ slot://$1/$2", CHOOSES),
    ("!ProxyPass /x slot://${group}/ interpolate", CHOOSES),
    ("!ProxyPass /x slot://app${group}/ interpolate", CHOOSES),
    ("!ProxyPassReverse / slot://${group}/", "a request could choose the group"),
    (
        "<Files x>\n!SetHandler \"proxy:slot://%{HTTP:X}\"\n</Files>",
        "a request could choose the group",
    ),
    ("<Files x>\n!SetHandler \"proxy:slot://a%{HTTP:X}/x\"\n</Files>", "could choose the group"),
    ("!AddHandler proxy:slot://nobody .php", NOBODY),
    ("!AddHandler proxy:slot://%{HTTP:X} .php", "a request could choose the group"),
    ("!RewriteRule ^/(.*)$ slot://$1 [P]", CHOOSES),
    ("!RewriteRule ^/(.*)$ slot://%{HTTP:X}/$1 [P]", CHOOSES),
    ("!RewriteRule ^/(.*)$ slot://${m:$1|$1}/ [P]", CHOOSES),
    ("!RewriteRule ^ - [H=proxy:slot://nobody]", NOBODY),
    ("!RewriteRule ^(.*) - [H=proxy:slot://$1]", "a request could choose the group"),
    ("RewriteMap l int:tolower\n!RewriteRule ^/(.*)$ slot://${l:$1}/ [P]", CHOOSES),
    ("RewriteMap s int:slot\n!RewriteRule ^/(.*)$ ${s:$1} [P]", CHOOSES),
    ("RewriteMap s int:slot\n!RewriteRule ^/(.*)$ ${s:app}/$1", "needs the flag [P]"),
    ("RewriteMap s int:slot\n!RewriteRule ^/(.*)$ ${s:nobody}/$1 [P]", NOBODY),
    ("RewriteMap m txt:ROOT/raw.txt\n!RewriteRule ^/(.*)$ ${m:$1} [P]", "RewriteMap slot int:slot"),
    ("RewriteMap m txt:ROOT/map.txt\n!RewriteRule ^/(.*)$ ${m:$1|slot://app/} [P]", "int:slot"),
    ("!<Proxy slot://nobody/>\n</Proxy>", NOBODY),
    ("!<Proxy \"slot://nobody\">\n</Proxy>", NOBODY),
    ("!ProxyPass / slot://nobody/", NOBODY),
    ("!ProxyPass / slot://nobody", NOBODY),
    ("!ProxyPass / SLOT://Nobody/", "there is no <SlotGroup Nobody>"),
    ("!proxypass /x slot://nobody/ timeout=3", NOBODY),
    ("<Location /x>\n!ProxyPass slot://nobody/\n</Location>", NOBODY),
    ("<VirtualHost *:80>\n!ProxyPass / slot://nobody/\n</VirtualHost>", NOBODY),
    ("!ProxyPassMatch \\.jsp$ slot://nobody", NOBODY),
    ("!ProxyPassMatch ^/(.*)$ slot://nobody/$1", NOBODY),
    ("!ProxyPassReverse / slot://nobody/", NOBODY),
    ("<Location /x>\n!ProxyPassReverse slot://nobody/\n</Location>", NOBODY),
    ("!ProxyPassReverseCookieDomain slot://nobody example.com", NOBODY),
    ("<Files *.php>\n!SetHandler proxy:slot://nobody\n</Files>", NOBODY),
    ("<FilesMatch \"\\.php$\">\n!SetHandler \"proxy:slot://nobody/x\"\n</FilesMatch>", NOBODY),
    ("RewriteEngine On\n!RewriteRule ^/(.*)$ slot://nobody/$1 [P]", NOBODY),
    ("<Directory />\n!RewriteRule ^(.*)$ slot://nobody/$1 [P]\n</Directory>", NOBODY),
    ("!RewriteRule ^/(.*)$ slot://app/$1 [L]", "RewriteRule to slot://app needs the flag [P]"),
    ("!RewriteRule ^/(.*)$ slot://app/$1", "RewriteRule to slot://app needs the flag [P]"),
    ("!ProxyPass / slot:///x", NO_GROUP),
    ("!ProxyPass / slot:app/", NO_URL),
    ("!ProxyPass / slot://app:80/", "there is no <SlotGroup app:80>"),
    ("!ProxyPass / slot://files/", NO_BACKEND),
    ("!ProxyPassMatch \\.jsp$ slot://files", NO_BACKEND),
    ("<Files x>\n!SetHandler proxy:slot://files\n</Files>", NO_BACKEND),
    ("!RewriteRule ^/(.*)$ slot://files/$1 [P]", NO_BACKEND),
    ("!ProxyPassReverse / slot://files/", NO_BACKEND),
    (
        "!SlotDocumentRoot nobody",
        "SlotDocumentRoot: there is no <SlotGroup nobody>|configured: app, files",
    ),
    ("<VirtualHost *:80>\n!SlotDocumentRoot nobody\n</VirtualHost>", "no <SlotGroup nobody>"),
    ("!SlotDocumentRoot bare", "SlotDocumentRoot bare: slot \"x\" has no docroot=path"),
    ("!SlotDocumentRoot", NO_ROOT),
    ("!SlotDocumentRoot \"\"", NO_ROOT),
    ("!SlotDocumentRoot app files", NO_ROOT),
    ("<Directory />\n!SlotDocumentRoot app\n</Directory>", "not allowed in <Directory> context"),
    ("<Location />\n!SlotDocumentRoot app\n</Location>", "not allowed in <Location> context"),
];

/// Directives that do not accept `slot://`, each with a URL.
pub(super) const ELSEWHERE: [&str; 12] = [
    "<Proxy balancer://b>\n!BalancerMember slot://app\n</Proxy>",
    "<Proxy balancer://b>\n!BalancerMember \"SLOT://app\" route=1\n</Proxy>",
    "!BalancerMember balancer://b slot://app",
    "!ProxyRemote slot://app http://127.0.0.1:3128",
    "!ProxyRemote * slot://app",
    "!ProxyRemoteMatch .* slot://app",
    "!NoProxy slot://app",
    "!Redirect / slot://app/",
    "!RedirectMatch ^/(.*) slot://app/$1",
    "!ErrorDocument 404 slot://app/404",
    "!Alias /x slot://app/",
    "!FallbackResource slot://app/",
];

/// Sections, and directives in a wrong place.
pub(super) const SECTIONS: [Wrong<'static>; 34] = [
    (
        "!<SlotGroup app>\nSlot c http://127.0.0.1:4\n</SlotGroup>",
        "there already is a group \"app\"",
    ),
    ("!<SlotGroup APP>\nSlot c http://127.0.0.1:4\n</SlotGroup>", OTHER),
    ("!<SlotGroup>\nSlot c http://127.0.0.1:4\n</SlotGroup>", ONE_NAME),
    ("!<SlotGroup a b>\nSlot c http://127.0.0.1:4\n</SlotGroup>", ONE_NAME),
    ("!<SlotGroup \"\">\nSlot c http://127.0.0.1:4\n</SlotGroup>", "the name is empty"),
    ("!<SlotGroup a/b>\nSlot c http://127.0.0.1:4\n</SlotGroup>", NAME),
    ("!<SlotGroup ../b>\nSlot c http://127.0.0.1:4\n</SlotGroup>", START),
    ("!<SlotGroup .b>\nSlot c http://127.0.0.1:4\n</SlotGroup>", START),
    ("!<SlotGroup ä>\nSlot c http://127.0.0.1:4\n</SlotGroup>", START),
    ("!<SlotGroup x\nSlot c http://127.0.0.1:4\n</SlotGroup>", "'>' is missing"),
    ("!<SlotGroup x>\nSlot c http://127.0.0.1:4", "<SlotGroup> was not closed"),
    ("!</SlotGroup>", "</SlotGroup> without matching <SlotGroup> section"),
    ("!<SlotGroup c>\n</SlotGroup>", "<SlotGroup c> has no Slot: add at least one"),
    ("<VirtualHost *:80>\n!<SlotGroup c>\nSlot d -\n</SlotGroup>\n</VirtualHost>", GLOBAL),
    ("<Directory />\n!<SlotGroup c>\nSlot d -\n</SlotGroup>\n</Directory>", "<Directory> context"),
    (
        "<SlotGroup c>\n!<SlotGroup d>\nSlot c http://127.0.0.1:4\n</SlotGroup>\n</SlotGroup>",
        "<SlotGroup d> is inside another <SlotGroup>: close that one first",
    ),
    (
        "<SlotGroup c>\nSlot c http://127.0.0.1:4\n!ServerName x\n</SlotGroup>",
        "ServerName is not allowed inside <SlotGroup c>: close that first",
    ),
    (
        "<SlotGroup \"c\">\nSlot c http://127.0.0.1:4\n!ProxyPass / http://x/\n</SlotGroup>",
        "ProxyPass is not allowed inside <SlotGroup c>",
    ),
    (
        "<SlotGroup c>\nSlot c http://127.0.0.1:4\n!SlotDocumentRoot app\n</SlotGroup>",
        "SlotDocumentRoot is not allowed inside <SlotGroup c>",
    ),
    (
        "<SlotGroup c>\nSlot c http://127.0.0.1:4\n!<Directory />\n</Directory>\n</SlotGroup>",
        "<Directory is not allowed inside <SlotGroup c>",
    ),
    ("<SlotGroup c>\n!Slott x http://x/\n</SlotGroup>", "Invalid command 'Slott'"),
    ("!Slot c http://127.0.0.1:4", "Slot is only allowed inside <SlotGroup>"),
    ("!SlotDefault a", "SlotDefault is only allowed inside <SlotGroup>"),
    ("!SlotOperator group=root", "SlotOperator is only allowed inside <SlotGroup>"),
    (
        "<VirtualHost *:80>\n!Slot c http://127.0.0.1:4\n</VirtualHost>",
        "is only allowed inside <SlotGroup>",
    ),
    ("<Directory />\n!Slot c http://127.0.0.1:4\n</Directory>", "<Directory> context"),
    ("!SlotStateDir", DIRECTORY),
    ("!SlotStateDir \"\"", DIRECTORY),
    ("!SlotStateDir a b", DIRECTORY),
    ("!SlotRuntimeDir", DIRECTORY),
    ("!SlotRuntimeDir \"\"", DIRECTORY),
    ("<VirtualHost *:80>\n!SlotStateDir /x\n</VirtualHost>", GLOBAL),
    ("<VirtualHost *:80>\n!SlotRuntimeDir /x\n</VirtualHost>", GLOBAL),
    ("<Directory />\n!SlotStateDir /x\n</Directory>", "not allowed in <Directory> context"),
];

const WORDS: &str = "Slot takes a name, the backend's URL or -, docroot=path and unit=service";
const SAME: &str =
    "is already the address of slot \"one\"|a flip between them would change nothing";
const SAME_C: &str = "is already the address of slot \"c\"";
const NO_SCHEME: &str =
    "it has no scheme, as in http://127.0.0.1:8081|a slot of static files only has -";
const SCHEMES: &str = "is not an address of a slot|mod_slot knows the schemes http, https, h2";
const NO_HOST: &str = "is not an address of a slot: it has no host";
const PORT: &str = "its port is not a number from 1 to 65535";
const NO_PLACE: &str = "is not allowed in it";
const RELATIVE: &str = "the path is not absolute";
const PARAMETER: &str = "is unknown; Slot takes docroot=path and unit=service";
const NO_SLOT: &str = "<SlotGroup g> has no such slot; it has one";
const DEFAULT: &str = "SlotDefault takes the name of a slot";
const OPERATOR: &str = "SlotOperator takes group=name, the name of a group of this system";

/// Lines in a group that already has `Slot one http://127.0.0.1:8`.
pub(super) const MEMBERS: [Wrong<'static>; 64] = [
    ("!Slot", WORDS),
    ("!Slot c", WORDS),
    ("!Slot c \"\"", WORDS),
    ("!Slot \"\" http://127.0.0.1:4", "the name is empty"),
    ("!Slot c/d http://127.0.0.1:4", NAME),
    ("!Slot http://127.0.0.1:4 c", NAME),
    ("!Slot -c http://127.0.0.1:4", START),
    ("!Slot one http://127.0.0.1:9", "<SlotGroup g> already has a slot \"one\"; use another name"),
    ("!Slot ONE http://127.0.0.1:9", OTHER),
    ("!Slot c http://127.0.0.1:8", SAME),
    ("!Slot c HTTP://127.0.0.1:8/", SAME),
    ("!Slot c http://localhost:8", SAME),
    ("!Slot c http://LOCALHOST:8//", SAME),
    ("Slot c http://x.example\n!Slot d http://X.example:80/", SAME_C),
    ("Slot c http://x.example/a\n!Slot d http://x.example/a/", SAME_C),
    ("Slot c unix:/run/a|http://localhost\n!Slot d unix:/run/a|http://LOCALHOST/", SAME_C),
    (
        "Slot c http://x.example docroot=/srv/c/../d/\n!Slot d http://x.example docroot=/srv//d/",
        "slot \"c\", and the docroot is the same",
    ),
    ("!Slot c -", "Slot c: without a backend (-), it needs docroot=path"),
    ("!Slot c - docroot=srv/c", RELATIVE),
    ("!Slot c - docroot=", RELATIVE),
    ("!Slot c http://127.0.0.1:4 docroot=../c", RELATIVE),
    ("!Slot c http://127.0.0.1:4 docrot=/srv/c", PARAMETER),
    ("!Slot c http://127.0.0.1:4 /srv/c", PARAMETER),
    ("!Slot c http://127.0.0.1:4 docroot = /srv/c", PARAMETER),
    ("!Slot c - docroot=/srv/c docroot=/srv/d", "Slot c: it has two docroots; remove one"),
    ("!Slot c d http://127.0.0.1:4", NO_SCHEME),
    ("!Slot c 127.0.0.1:4", NO_SCHEME),
    ("!Slot c /srv/c", NO_SCHEME),
    ("!Slot c localhost:4", SCHEMES),
    ("!Slot c ftp://x/", SCHEMES),
    ("!Slot c slot://app", SCHEMES),
    ("!Slot c unix:/run/x", SCHEMES),
    ("!Slot c unix:run/x|http://x", "the path of the unix socket is not absolute"),
    ("!Slot c http:/x", NO_HOST),
    ("!Slot c http://", NO_HOST),
    ("!Slot c http://:80", NO_HOST),
    ("!Slot c http://x:port", PORT),
    ("!Slot c http://x:0", PORT),
    ("!Slot c http://x:70000", PORT),
    ("!Slot c http://user@x/", NO_PLACE),
    ("!Slot c http://x/?a=b", NO_PLACE),
    ("!Slot c \"http://x/a b\"", NO_PLACE),
    ("!Slot c http://x/$1", NO_PLACE),
    (
        "!Slot c ajp://127.0.0.1",
        "ajp://127.0.0.1 needs mod_proxy_ajp, which is not loaded|LoadModule",
    ),
    ("!Slot c fcgi://127.0.0.1:9000", "needs mod_proxy_fcgi|a2enmod proxy_fcgi"),
    ("!Slot c scgi://127.0.0.1:9000", "needs mod_proxy_scgi|a2enmod proxy_scgi"),
    ("!Slot c uwsgi://127.0.0.1:9000", "needs mod_proxy_uwsgi|a2enmod proxy_uwsgi"),
    ("!Slot c h2://127.0.0.1", "needs mod_proxy_http2|a2enmod proxy_http2"),
    ("!Slot c ws://127.0.0.1", "needs mod_proxy_wstunnel|a2enmod proxy_wstunnel"),
    ("!Slot c balancer://blue", "needs mod_proxy_balancer|a2enmod proxy_balancer"),
    ("!SlotDefault nobody", NO_SLOT),
    ("!SlotDefault ONE", NO_SLOT),
    ("!SlotDefault", DEFAULT),
    ("!SlotDefault \"\"", DEFAULT),
    ("!SlotDefault one two", DEFAULT),
    (
        "SlotDefault one\n!SlotDefault one",
        "SlotDefault is already set in <SlotGroup g>; remove one of the lines",
    ),
    ("!SlotOperator", OPERATOR),
    ("!SlotOperator root", OPERATOR),
    ("!SlotOperator group=", OPERATOR),
    ("!SlotOperator user=root", OPERATOR),
    ("!SlotOperator group=root group=bin", OPERATOR),
    ("!SlotOperator group=no-such-group", "this system has no such group; groupadd no-such-group"),
    (
        "SlotOperator group=root\n!SlotOperator group=nogroup",
        "SlotOperator is already set in <SlotGroup g>",
    ),
    ("!<Files x>\n</Files>", "<Files is not allowed inside <SlotGroup g>"),
];

/// Right lines, after `GROUPS`.
pub(super) const RIGHT: [(&str, &str); 18] = [
    ("nothing more", ""),
    (
        "all routes",
        "ProxyPass /a/ slot://app/\nProxyPassMatch \\.jsp$ slot://app\n\
        ProxyPassReverse /a/ slot://app/\nProxyPassReverseCookieDomain slot://app example.com\n\
        <Files *.php>\nSetHandler proxy:slot://app\n</Files>\nSlotDocumentRoot files\n\
        RewriteRule ^/b/(.*)$ slot://app/$1 [QSA,P]",
    ),
    ("another case", "ProxyPass / SLOT://App/\nSlotDocumentRoot FILES"),
    (
        "a route before its group",
        "ProxyPass / slot://later/\n<SlotGroup later>\n\
        Slot x http://127.0.0.1:4\n</SlotGroup>",
    ),
    (
        "a default before its slot",
        "<SlotGroup g>\nSlotDefault x\nSlot y http://127.0.0.1:5\n\
        Slot x http://127.0.0.1:4\n</SlotGroup>",
    ),
    (
        "conditions and files in a group",
        "<SlotGroup g>\n<IfModule proxy_module>\n\
        Slot x http://127.0.0.1:4\n</IfModule>\nInclude ROOT/slots.conf\n<IfDefine nothing>\n\
        Nonsense\n</IfDefine>\nSlotDefault c\n</SlotGroup>",
    ),
    (
        "a macro's worth of quotes",
        "<SlotGroup \"g\">\n\"Slot\" \"x\" \"http://127.0.0.1:4\" \
        \"docroot=/\"\n</SlotGroup>\nProxyPass \"/\" \"slot://g/\"",
    ),
    (
        "every scheme",
        "<SlotGroup g>\nSlot a http://x\nSlot b https://x:8443/ctx\n\
        Slot c ajp://127.0.0.1\nSlot d fcgi://127.0.0.1:9000\nSlot e balancer://blue\n\
        Slot f unix:/run/f.sock|http://localhost\nSlot h unix:/run/h.sock|fcgi:\n</SlotGroup>\n\
        <Proxy balancer://blue>\nBalancerMember http://127.0.0.1:9\n</Proxy>",
    ),
    (
        "one backend, and what tells its slots apart",
        "<SlotGroup g>\nSlot a http://127.0.0.1:8080 docroot=/srv/a\n\
        Slot b http://127.0.0.1:8080 docroot=/srv/b\nSlot c http://[::1]:8080\n\
        Slot d unix:/run/d.sock|http://one\nSlot e unix:/run/d.sock|http://two\n</SlotGroup>",
    ),
    (
        "a balancer of one virtual host",
        "<SlotGroup g>\nSlot a \"balancer://Vhost/ctx\"\n</SlotGroup>\n<VirtualHost *>\n\
        <Proxy balancer://vhost>\nBalancerMember http://127.0.0.1:9\n</Proxy>\nProxyPass / slot://g/\n\
        </VirtualHost>",
    ),
    (
        "mappings of mod_proxy",
        "ProxyPass /e/ slot://app/ mapping=encoded\nProxyPass /s/ slot://app/ mapping=servlet",
    ),
    (
        "other ports and paths of a host",
        "<SlotGroup g>\nSlot a http://x/a\nSlot b http://x/b\n\
        Slot c https://x/a\nSlot d http://x:81/a\n</SlotGroup>",
    ),
    ("one address in two groups", "<SlotGroup g>\nSlot a http://127.0.0.1:8081\n</SlotGroup>"),
    (
        "a group that a map chooses",
        "RewriteMap lower int:tolower\nRewriteMap slot int:slot\nRewriteMap m txt:ROOT/map.txt\n\
        RewriteRule ^/(app|bare)/(.*)$ slot://${m:$1}/$2 [P]\n\
        RewriteRule ^/(app|bare)/(.*)$ slot://${m:${lower:$1}|app}/$2 [P]\n\
        RewriteRule ^/x/(.*)$ ${slot:${m:$1}}/$2 [P]\nRewriteRule ^/y/(.*)$ ${slot:app}/$1 [P]",
    ),
    (
        "slot:// as text",
        "SetEnv BACKEND slot://app\nRewriteRule ^ - [E=B:slot://nobody]\nErrorDocument 404 \"no slot://x\"\n\
        Header set X-B slot://nobody\nRewriteCond %{HTTP:X} slot://nobody\nRewriteRule ^ - [F]",
    ),
    (
        "what follows a name and cannot be part of it",
        "ProxyPassMatch ^(/.*\\.jsp)$ slot://app$1\nProxyPass /y slot://app\n\
        <Location /z>\nProxyPass slot://app\n</Location>\n<LocationMatch \\.do$>\nProxyPass slot://app\n\
        </LocationMatch>\nProxyPass ~ \\.xsp$ slot://app\nRewriteRule ^(.*)$ slot://app$1 [P]",
    ),
    (
        "sections and handlers",
        "<Proxy slot://app/x>\nProxySet timeout=3\n</Proxy>\n<Proxy slot://*>\nRequire all granted\n\
        </Proxy>\n<ProxyMatch ^slot://(no|app)>\nRequire all granted\n</ProxyMatch>\n\
        AddHandler proxy:slot://app .php",
    ),
    (
        "virtual hosts",
        "<VirtualHost *:80>\nServerName a\nSlotDocumentRoot app\n\
        ProxyPass / slot://app/\n</VirtualHost>\n<VirtualHost *:80>\nServerName b\n\
        SlotDocumentRoot files\n</VirtualHost>",
    ),
];
