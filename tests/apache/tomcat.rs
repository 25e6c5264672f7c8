//! Two real Tomcats, `resin` and `resin_standby`, for all tests of this program. The directory of each
//! one's web application can be the docroot of a slot as well.

mod restart;
mod service;

pub(crate) use service::{Services, program};

use crate::apache;
use crate::http::Client;
use crate::site::{Site, until};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::OnceLock;
use std::thread::{self, JoinHandle};

/// The names of the slots.
pub(crate) const SLOTS: [&str; 2] = ["resin", "resin_standby"];

/// A word in every file that no client may read; JSPs are recognised by their tags.
pub(crate) const CANARY: &str = "not-to-be-seen";

/// One Tomcat with its files. The keeper ends it when this program has ended.
pub(crate) struct Tomcat {
    pub(crate) http: SocketAddr,
    pub(crate) ajp: SocketAddr,
    /// The directory of the web application: `/home/httpd/app` or `/home/httpd/app_standby` of the
    /// shipped examples, below a directory that both Tomcats share.
    pub(crate) docroot: PathBuf,
    _process: Child,
    _keeper: Child,
}

const SECRET: &str = "secret-of-the-tests";

/// Both, started at the first call.
pub(crate) fn pair() -> &'static [Tomcat; 2] {
    static PAIR: OnceLock<[Tomcat; 2]> = OnceLock::new();
    PAIR.get_or_init(|| {
        // The keepers remove the directory.
        let root = apache::directory("mod_slot-tomcat-").unwrap().keep();
        let start = |(slot, app)| Tomcat::start(&root, slot, app);
        let pair = [(SLOTS[0], "app"), (SLOTS[1], "app_standby")].map(start);
        for tomcat in &pair {
            for port in [tomcat.http, tomcat.ajp] {
                assert!(apache::await_port(port, || true), "Tomcat does not listen at {port}");
            }
        }
        pair
    })
}

/// A request at work in a Tomcat until [`finish`] or half a minute later.
pub(crate) struct Pending {
    /// The JSP creates this file, and answers when it is removed.
    file: PathBuf,
    answer: JoinHandle<String>,
}

impl Pending {
    /// Returns when the request is at work.
    pub(crate) fn of(site: &Site) -> Self {
        let (address, file) = (site.address, site.path().join("pending"));
        let path = format!("/hold.jsp?file={}", file.display());
        let answer =
            thread::spawn(move || Client::of(address).ask("GET", &path, b"").unwrap().text());
        until(|| file.exists()).expect("the request comes to its Tomcat");
        Self { file, answer }
    }

    /// Its answer.
    pub(crate) fn finish(self) -> String {
        fs::remove_file(self.file).expect("it is at work until now");
        self.answer.join().unwrap()
    }
}

/// The secret of AJP.
pub(crate) fn secret() -> &'static str {
    SECRET
}

impl Tomcat {
    fn start(root: &Path, slot: &str, app: &str) -> Self {
        let (base, docroot) = (root.join(slot), root.join("home").join(app));
        let [http, ajp] = [(); 2].map(|()| apache::free_port().unwrap());
        lay_out(&base, &docroot, http, ajp);
        write_application(&docroot, slot);
        let log = fs::File::create(base.join("logs/out")).unwrap();
        use std::os::unix::process::CommandExt;
        let process = support::tomcat::command(&base, &JVM)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("java is there, as tomcat10 needs it");
        let keeper = apache::keeper(root, process.id()).unwrap();
        Self { http, ajp, docroot, _process: process, _keeper: keeper }
    }
}

/// The options of the JVM: small, and quickly started.
const JVM: [&str; 4] = ["-Xmx160m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"];

/// Writes Tomcat's configuration. Beside the application it serves one below `/shop`, and a console
/// to which no example has a route.
fn lay_out(base: &Path, docroot: &Path, http: SocketAddr, ajp: SocketAddr) {
    for dir in ["conf", "logs", "temp", "work", "webapps", "console"] {
        fs::create_dir_all(base.join(dir)).unwrap();
    }
    let server = format!(
        r#"<Server port="-1">
  <Service name="Catalina">
    <Connector port="{}" address="127.0.0.1" protocol="HTTP/1.1" maxThreads="100"
               maxKeepAliveRequests="-1" connectionTimeout="60000"/>
    <Connector port="{}" address="127.0.0.1" protocol="AJP/1.3" secret="{SECRET}" maxThreads="50"/>
    <Engine name="Catalina" defaultHost="localhost">
      <Host name="localhost" appBase="webapps" autoDeploy="false" unpackWARs="false">
        <Valve className="org.apache.catalina.valves.RemoteIpValve"
               protocolHeader="X-Forwarded-Proto"/>
        <Context path="" docBase="{docroot}"/>
        <Context path="/shop" docBase="{docroot}/shop"/>
        <Context path="/console" docBase="{base}/console"/>
      </Host>
    </Engine>
  </Service>
</Server>
"#,
        http.port(),
        ajp.port(),
        docroot = docroot.display(),
        base = base.display()
    );
    fs::write(base.join("conf/server.xml"), server).unwrap();
    fs::write(base.join("console/index.html"), CANARY).unwrap();
    let web = r#"<web-app xmlns="https://jakarta.ee/xml/ns/jakartaee" version="6.0">
  <servlet>
    <servlet-name>default</servlet-name>
    <servlet-class>org.apache.catalina.servlets.DefaultServlet</servlet-class>
    <load-on-startup>1</load-on-startup>
  </servlet>
  <servlet>
    <servlet-name>jsp</servlet-name>
    <servlet-class>org.apache.jasper.servlet.JspServlet</servlet-class>
    <init-param><param-name>development</param-name><param-value>false</param-value></init-param>
    <load-on-startup>3</load-on-startup>
  </servlet>
  <servlet-mapping>
    <servlet-name>default</servlet-name>
    <url-pattern>/</url-pattern>
  </servlet-mapping>
  <servlet-mapping>
    <servlet-name>jsp</servlet-name>
    <url-pattern>*.jsp</url-pattern>
    <url-pattern>*.jspx</url-pattern>
  </servlet-mapping>
  <mime-mapping><extension>html</extension><mime-type>text/html</mime-type></mime-mapping>
  <mime-mapping><extension>css</extension><mime-type>text/css</mime-type></mime-mapping>
  <welcome-file-list>
    <welcome-file>index.html</welcome-file>
    <welcome-file>index.jsp</welcome-file>
  </welcome-file-list>
</web-app>
"#;
    fs::write(base.join("conf/web.xml"), web).unwrap();
}

/// The pages that Tomcat answers.
const PAGES: [(&str, &str); 12] = [
    (
        "name.jsp",
        r#"<%@ page contentType="text/plain" %>slot=SLOT host=<%= request.getHeader("Host") %> uri=<%= request.getRequestURI() %> query=<%= request.getQueryString() %>"#,
    ),
    (
        "echo.jsp",
        r#"<%@ page contentType="text/plain" %><% int n = 0; byte[] b = new byte[8192]; for (int k; (k = request.getInputStream().read(b)) > 0; ) n += k; %>slot=SLOT bytes=<%= n %>"#,
    ),
    (
        "hold.jsp",
        r#"<%@ page contentType="text/plain" %><% java.io.File file = new java.io.File(request.getParameter("file")); file.createNewFile(); for (int n = 0; n < 3000 && file.exists(); n++) Thread.sleep(10); file.delete(); %>slot=SLOT"#,
    ),
    (
        "go.jsp",
        r#"<% response.addCookie(new jakarta.servlet.http.Cookie("k", "SLOT")); response.sendRedirect(request.getRequestURL().toString().replace("go.jsp", "name.jsp")); %>"#,
    ),
    (
        "session.jsp",
        r#"<%@ page contentType="text/plain" %><% Integer n = (Integer) session.getAttribute("n"); n = n == null ? 1 : n + 1; session.setAttribute("n", n); %>slot=SLOT n=<%= n %> id=<%= session.getId() %>"#,
    ),
    // A redirect to Tomcat's own address.
    (
        "own.jsp",
        r#"<% response.sendRedirect("http://" + request.getLocalAddr() + ":" + request.getLocalPort() + "/name.jsp"); %>"#,
    ),
    // A session in the URLs of a page, for a client without cookies.
    (
        "links.jsp",
        r#"<%@ page contentType="text/plain" %><% session.setAttribute("n", 7); for (String to : new String[] {"/session.jsp", "/", "/docs/", "/style.css", "/api/"}) out.print(response.encodeURL(to) + " "); %>"#,
    ),
    (
        "scheme.jsp",
        r#"<%@ page contentType="text/plain" %><%= request.getScheme() %> <%= request.isSecure() %>"#,
    ),
    (
        "index.jsp",
        r#"<%@ page contentType="text/plain" %>index of SLOT query=<%= request.getQueryString() %>"#,
    ),
    ("docs/page.jsp", r#"<%@ page contentType="text/plain" %>page of SLOT"#),
    (
        "page.jspx",
        r#"<jsp:root xmlns:jsp="http://java.sun.com/JSP/Page" version="2.3"><jsp:directive.page contentType="text/plain"/><jsp:text>SLOT in XML</jsp:text><jsp:scriptlet>int hidden = 1;</jsp:scriptlet></jsp:root>"#,
    ),
    (
        "WEB-INF/api.jsp",
        r#"<%@ page contentType="text/plain" %><%@ page session="false" %>api of SLOT <%= request.getMethod() %> <%= request.getAttribute("jakarta.servlet.forward.request_uri") %> <%= request.getServletPath() %> <%= request.getPathInfo() %> <%= request.getQueryString() %>"#,
    ),
];

/// Files that every client may read.
const STATIC: [(&str, &str); 6] = [
    ("name.txt", "slot=SLOT\n"),
    ("style.css", "body { --slot: SLOT }\n"),
    ("docs/index.html", "<p>docs of SLOT</p>\n"),
    ("shop/style.css", "body { --shop: SLOT }\n"),
    ("images/LOGO.v2.PNG", "\u{89}PNG of SLOT\n"),
    (".well-known/security.txt", "Contact: mailto:SLOT@example.com\n"),
];

/// Files of the docroots that no client may read. Each contains the source of a JSP as well.
const HIDDEN: [&str; 31] = [
    "WEB-INF/classes/Secret.class",
    "WEB-INF/notes.txt",
    "WEB-INF/page.jsp",
    "META-INF/MANIFEST.MF",
    "META-INF/notes.html",
    "shop/WEB-INF/notes.txt",
    "web-inf/notes.txt",
    "Secret.class",
    "Secret.java",
    "name.jsp~",
    "name.jsp.bak",
    "name.jsp.txt",
    "name.jsp.html",
    "name.jspf",
    "name.tag",
    "name.xtp",
    "name.php",
    "NAME.JSP",
    ".name.jsp.swp",
    "#name.jsp#",
    "docs/page.jsp.orig",
    "api/name.jsp~",
    "api/notes.txt",
    ".htaccess",
    ".env",
    ".git/config",
    ".git/index.html",
    "docs/.svn/entries",
    "dump.sql",
    "style.css~",
    "app.war",
];

/// Returns the paths, below a docroot, of the files whose content no client may read.
pub(crate) fn hidden() -> Vec<&'static str> {
    let archives = ["WEB-INF/web.xml", "shop/WEB-INF/web.xml", "WEB-INF/lib/app.jar", "app.jar"];
    let pages = PAGES.iter().map(|(name, _)| *name).filter(|name| *name != "hold.jsp");
    pages.chain(HIDDEN).chain(archives).collect()
}

fn write_application(docroot: &Path, slot: &str) {
    let write = |name: &str, content: &[u8]| {
        let path = docroot.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    for (name, page) in PAGES.iter().chain(&STATIC) {
        write(name, page.replace("SLOT", slot).as_bytes());
    }
    for name in HIDDEN {
        write(name, format!("{CANARY} <%= \"of {slot}\" %>\n").as_bytes());
    }
    // An empty archive, because Tomcat reads it; the comment is the secret.
    let jar = [b"PK\x05\x06".as_slice(), &[0; 16], &[CANARY.len() as u8, 0], CANARY.as_bytes()];
    for name in ["WEB-INF/lib/app.jar", "app.jar"] {
        write(name, &jar.concat());
    }
    write("shop/name.jsp", PAGES[0].1.replace("SLOT", slot).as_bytes());
    let empty = "<web-app xmlns=\"https://jakarta.ee/xml/ns/jakartaee\" version=\"6.0\" \
                 metadata-complete=\"true\"><!-- not-to-be-seen --><absolute-ordering/>";
    write("shop/WEB-INF/web.xml", format!("{empty}</web-app>\n").as_bytes());
    let api = "<servlet><servlet-name>api</servlet-name><jsp-file>/WEB-INF/api.jsp</jsp-file>\
               </servlet><servlet-mapping><servlet-name>api</servlet-name>\
               <url-pattern>/api/*</url-pattern></servlet-mapping></web-app>\n";
    write("WEB-INF/web.xml", format!("{empty}{api}").as_bytes());
    symlink("WEB-INF/web.xml", docroot.join("link.txt")).unwrap();
    symlink(".", docroot.join("all")).unwrap();
}
