package penstock;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;

/** All log lines from INFO up go to a file; those from WARN up are what the test judges the server by. */
final class Log extends Handler {
    private final PrintWriter file;
    private final List<String> warnings = new ArrayList<>();

    private Log(Path path) throws Exception {
        file = new PrintWriter(Files.newBufferedWriter(path), true);
    }

    static Log install(Path path) throws Exception {
        Log log = new Log(path);
        Logger root = Logger.getLogger("");
        for (Handler handler : root.getHandlers()) {
            root.removeHandler(handler);
        }
        root.addHandler(log);
        root.setLevel(Level.INFO);
        return log;
    }

    @Override
    public synchronized void publish(LogRecord record) {
        StringWriter line = new StringWriter();
        line.append(Instant.ofEpochMilli(record.getMillis()) + " " + record.getLevel() + " " + record.getLoggerName() + ": " + record.getMessage());
        if (record.getThrown() != null) {
            line.append("\n");
            record.getThrown().printStackTrace(new PrintWriter(line, true));
        }
        file.println(line);
        if (record.getLevel().intValue() >= Level.WARNING.intValue()) {
            warnings.add(line.toString());
        }
    }

    /** What was logged from WARN up since the last call. */
    synchronized List<String> takeWarnings() {
        List<String> taken = new ArrayList<>(warnings);
        warnings.clear();
        return taken;
    }

    @Override
    public void flush() {
        file.flush();
    }

    @Override
    public void close() {
        file.close();
    }
}
