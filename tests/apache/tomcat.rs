//! Two real Tomcats, `resin` and `resin_standby`, for all tests of this program.

use crate::apache;
use crate::http::Client;
use crate::site::{Site, until};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::{self, JoinHandle};
use std::{env, fs};
use tempfile::TempDir;

/// The names of the slots.
pub(crate) const SLOTS: [&str; 2] = ["resin", "resin_standby"];

/// One of them, with its files. The keeper ends it when this program has ended.
pub(crate) struct Tomcat {
    pub(crate) http: SocketAddr,
    pub(crate) ajp: SocketAddr,
    _process: Child,
    _keeper: Child,
    _base: TempDir,
}

const SECRET: &str = "secret-of-the-tests";

/// Both, started by who asks first.
pub(crate) fn pair() -> &'static [Tomcat; 2] {
    static PAIR: OnceLock<[Tomcat; 2]> = OnceLock::new();
    PAIR.get_or_init(|| {
        let pair = SLOTS.map(Tomcat::start);
        for tomcat in &pair {
            for port in [tomcat.http, tomcat.ajp] {
                assert!(apache::await_port(port, || true), "Tomcat does not listen at {port}");
            }
        }
        pair
    })
}

/// A request that is at work in a Tomcat until it is told to finish, for half a minute at most.
pub(crate) struct Pending {
    /// The JSP makes it, and answers when it is gone.
    file: PathBuf,
    answer: JoinHandle<String>,
}

impl Pending {
    /// Returns when it is at work.
    pub(crate) fn of(site: &Site) -> Self {
        let (address, file) = (site.address, site.path().join("pending"));
        let path = format!("/hold.jsp?file={}", file.display());
        let answer =
            thread::spawn(move || Client::of(address).ask("GET", &path, b"").unwrap().text());
        until(|| file.exists()).expect("the request comes to its Tomcat");
        Self { file, answer }
    }

    /// What it answers.
    pub(crate) fn finish(self) -> String {
        fs::remove_file(self.file).expect("it is at work until now");
        self.answer.join().unwrap()
    }
}

/// The secret that AJP asks for.
pub(crate) fn secret() -> &'static str {
    SECRET
}

impl Tomcat {
    fn start(slot: &str) -> Self {
        let home = env::var_os("CATALINA_HOME");
        let home = home.map_or_else(|| PathBuf::from("/usr/share/tomcat10"), PathBuf::from);
        let base = apache::directory("mod_slot-tomcat-").unwrap();
        let [http, ajp] = [(); 2].map(|()| apache::free_port().unwrap());
        lay_out(base.path(), slot, http, ajp);
        let log = fs::File::create(base.path().join("logs/out")).unwrap();
        let bin = home.join("bin");
        let class_path = format!(
            "{}:{}",
            bin.join("bootstrap.jar").display(),
            bin.join("tomcat-juli.jar").display()
        );
        let define = |name: &str, path: &Path| format!("-D{name}={}", path.display());
        use std::os::unix::process::CommandExt;
        let process = Command::new("java")
            .args(["-Xmx160m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"])
            .arg("-Djava.security.egd=file:/dev/./urandom")
            .args(["-Dorg.apache.catalina.startup.EXIT_ON_INIT_FAILURE=true", "-cp"])
            .args([&class_path, &define("catalina.home", &home)])
            .args([&define("catalina.base", base.path())])
            .args([&define("java.io.tmpdir", &base.path().join("temp"))])
            .args(["org.apache.catalina.startup.Bootstrap", "start"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("java is there, as tomcat10 needs it");
        let keeper = apache::keeper(base.path(), process.id()).unwrap();
        Self { http, ajp, _process: process, _keeper: keeper, _base: base }
    }
}

fn lay_out(base: &Path, slot: &str, http: SocketAddr, ajp: SocketAddr) {
    for dir in ["conf", "logs", "temp", "work", "webapps/ROOT/WEB-INF"] {
        fs::create_dir_all(base.join(dir)).unwrap();
    }
    let server = format!(
        r#"<Server port="-1">
  <Service name="Catalina">
    <Connector port="{}" address="127.0.0.1" protocol="HTTP/1.1" maxThreads="100"
               maxKeepAliveRequests="-1" connectionTimeout="60000"/>
    <Connector port="{}" address="127.0.0.1" protocol="AJP/1.3" secret="{SECRET}" maxThreads="50"/>
    <Engine name="Catalina" defaultHost="localhost">
      <Host name="localhost" appBase="webapps" autoDeploy="false" unpackWARs="false"/>
    </Engine>
  </Service>
</Server>
"#,
        http.port(),
        ajp.port()
    );
    fs::write(base.join("conf/server.xml"), server).unwrap();
    let web = r#"<web-app xmlns="https://jakarta.ee/xml/ns/jakartaee" version="6.0">
  <servlet>
    <servlet-name>jsp</servlet-name>
    <servlet-class>org.apache.jasper.servlet.JspServlet</servlet-class>
    <init-param><param-name>development</param-name><param-value>false</param-value></init-param>
    <load-on-startup>3</load-on-startup>
  </servlet>
  <servlet-mapping>
    <servlet-name>jsp</servlet-name>
    <url-pattern>*.jsp</url-pattern>
  </servlet-mapping>
</web-app>
"#;
    fs::write(base.join("conf/web.xml"), web).unwrap();
    let app = base.join("webapps/ROOT");
    let pages = [
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
    ];
    for (name, page) in pages {
        fs::write(app.join(name), page.replace("SLOT", slot)).unwrap();
    }
    fs::write(
        app.join("WEB-INF/web.xml"),
        "<web-app xmlns=\"https://jakarta.ee/xml/ns/jakartaee\" version=\"6.0\"/>\n",
    )
    .unwrap();
}
