// Servers in Java that send each message back, with the streams of its standard library.
//
// Prints a JSON object, from the name of each server to its port, and runs until the standard
// input ends.

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.BufferedReader;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;

class JavaEcho {
    /** Receives one message and sends it back; returns whether there was one. */
    interface Echo {
        boolean one(DataInputStream in, DataOutputStream out) throws IOException;
    }

    static int listen(Echo echo) throws IOException {
        ServerSocket listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        start(() -> {
            while (true) {
                Socket socket = listener.accept();
                start(() -> serve(socket, echo));
            }
        });
        return listener.getLocalPort();
    }

    static void serve(Socket socket, Echo echo) throws IOException {
        try (socket) {
            socket.setTcpNoDelay(true);
            var in = new DataInputStream(new BufferedInputStream(socket.getInputStream()));
            var out = new DataOutputStream(new BufferedOutputStream(socket.getOutputStream()));
            while (echo.one(in, out)) {
                out.flush();
            }
        }
    }

    interface Task {
        void run() throws IOException;
    }

    static void start(Task task) {
        Thread thread = new Thread(() -> {
            try {
                task.run();
            } catch (IOException error) {
                // the end of the stream, between messages or inside one
            }
        });
        thread.setDaemon(true);
        thread.start();
    }

    static boolean readInt(DataInputStream in, DataOutputStream out) throws IOException {
        byte[] message = new byte[in.readInt()];
        in.readFully(message);
        out.writeInt(message.length);
        out.write(message);
        return true;
    }

    static boolean readUTF(DataInputStream in, DataOutputStream out) throws IOException {
        out.writeUTF(in.readUTF());
        return true;
    }

    static boolean readLines(DataInputStream in, DataOutputStream out) throws IOException {
        var reader = new BufferedReader(new InputStreamReader(in, StandardCharsets.UTF_8));
        for (String line = reader.readLine(); line != null; line = reader.readLine()) {
            out.write((line + "\r\n").getBytes(StandardCharsets.UTF_8));
            if (!reader.ready()) {
                out.flush();
            }
        }
        return false;
    }

    public static void main(String[] arguments) throws IOException {
        System.out.printf(
            "{\"readInt\": %d, \"readUTF\": %d, \"readLine\": %d}%n",
            listen(JavaEcho::readInt), listen(JavaEcho::readUTF), listen(JavaEcho::readLines));
        System.in.transferTo(java.io.OutputStream.nullOutputStream());
    }
}
