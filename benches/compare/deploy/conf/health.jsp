<%@ page contentType="text/plain" session="false" %>healthy
