package penstock;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.concurrent.TimeUnit;

/** A server process on a free port of loopback, which says where it listens. It does not outlive this virtual machine. */
final class Local {
    final Process process;
    final int port;

    Local(String... command) throws Exception {
        process = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
        Runtime.getRuntime().addShutdownHook(new Thread(process::destroy));
        String ready = new BufferedReader(new InputStreamReader(process.getInputStream())).readLine();
        if (ready == null) {
            throw new IllegalStateException(String.join(" ", command) + " ended with " + process.waitFor());
        }
        port = Integer.parseInt(ready.trim().substring(ready.trim().lastIndexOf(':') + 1));
    }

    /** SIGTERM; gives the exit status. */
    int stop() throws Exception {
        process.destroy();
        if (!process.waitFor(20, TimeUnit.SECONDS)) {
            process.destroyForcibly();
            throw new IllegalStateException("it did not stop within 20 s of SIGTERM");
        }
        return process.exitValue();
    }
}
